"""Networks of snnTorch: their NIR files, and what they did in 300 steps."""

import common
import snntorch as snn
import torch
from snntorch.export_nir import export_to_nir
from torch import nn


def networks():
    def leaky(**more):
        return snn.Leaky(beta=0.9, init_hidden=True, **more)

    def wide(n, low, high):
        return torch.linspace(low, high, n)

    yield "dense", (40,), [nn.Linear(40, 60), leaky(), nn.Linear(60, 10), leaky()], {}, 2.0
    yield (
        "no_bias",
        (40,),
        [nn.Linear(40, 60, bias=False), leaky(threshold=0.5), nn.Linear(60, 10), leaky()],
        {},
        1.5,
    )
    yield (
        "many_betas", (40,),
        [nn.Linear(40, 60), snn.Leaky(beta=wide(60, 0.5, 1.0), threshold=wide(60, 0.6, 1.2), init_hidden=True), nn.Linear(60, 10), leaky()],
        {}, 1.5,
    )  # fmt: skip
    yield (
        "to_zero", (40,),
        [nn.Linear(40, 60), leaky(reset_mechanism="zero"), nn.Linear(60, 10), leaky(reset_mechanism="zero")],
        {"reset": "delayed_hard"}, 2.0,
    )  # fmt: skip
    yield (
        "synaptic", (40,),
        [nn.Linear(40, 60), snn.Synaptic(alpha=0.8, beta=0.9, init_hidden=True), nn.Linear(60, 10),
         snn.Synaptic(alpha=0.7, beta=0.85, init_hidden=True)],
        {}, 0.6,
    )  # fmt: skip
    yield (
        "conv", (2, 34, 34),
        [nn.Conv2d(2, 16, 3, padding=1), leaky(), nn.Conv2d(16, 32, 3, padding=1), leaky(), nn.Flatten(),
         nn.Linear(32 * 34 * 34, 10), leaky()],
        {}, 1.5,
    )  # fmt: skip
    yield (
        "strided", (2, 17, 15),
        [nn.Conv2d(2, 8, (3, 5), stride=(2, 1), padding=(1, 2)), leaky(), nn.AvgPool2d(2, 2),
         nn.Conv2d(8, 6, 3, dilation=(1, 2), bias=False), leaky(), nn.Flatten(), nn.Linear(36, 7), leaky()],
        {}, 3.0,
    )  # fmt: skip

    def zero(**more):
        return leaky(reset_mechanism="zero", **more)

    yield (
        "to_zero_nested", (40,),
        [nn.Sequential(nn.Linear(40, 60), zero()), nn.Sequential(nn.Sequential(nn.Linear(60, 10), zero()))],
        {"reset": "delayed_hard"}, 2.0,
    )  # fmt: skip
    yield (
        "nested", (2, 17, 15),
        [nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), leaky(), nn.AvgPool2d(2, 2)),
         nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(8 * 7 * 6, 20), leaky())), nn.Linear(20, 7), leaky()],
        {}, 2.0,
    )  # fmt: skip
    yield (
        "nested_recurrent", (40,),
        [nn.Sequential(nn.Linear(40, 60), snn.RLeaky(beta=0.9, linear_features=60, init_hidden=True, reset_mechanism="zero")),
         nn.Sequential(nn.Linear(60, 10), zero())],
        {"reset": "delayed_hard"}, 1.2,
    )  # fmt: skip
    yield (
        "residual", (40,),
        [nn.Linear(40, 60), leaky(reset_delay=False), nn.Linear(60, 10), leaky(reset_delay=False)],
        {"reset": "residual"}, 4.0,
    )  # fmt: skip
    yield (
        "residual_synaptic", (40,),
        [nn.Linear(40, 60), snn.Synaptic(alpha=0.8, beta=0.9, init_hidden=True, reset_delay=False), nn.Linear(60, 10),
         snn.Synaptic(alpha=0.7, beta=0.85, init_hidden=True, reset_delay=False)],
        {"reset": "residual"}, 0.6,
    )  # fmt: skip
    yield (
        "zero_at_once", (40,),
        [nn.Linear(40, 60), zero(reset_delay=False), nn.Linear(60, 10), zero(reset_delay=False)],
        {"reset": "hard"}, 2.0,
    )  # fmt: skip
    yield (
        "recurrent", (40,),
        [nn.Linear(40, 60), snn.RLeaky(beta=0.9, linear_features=60, init_hidden=True), nn.Linear(60, 10), leaky()],
        {}, 1.2,
    )  # fmt: skip
    yield (
        "recurrent_synaptic", (40,),
        [nn.Linear(40, 60), snn.RSynaptic(alpha=0.8, beta=0.9, linear_features=60, init_hidden=True),
         nn.Linear(60, 10), leaky()],
        {}, 0.5,
    )  # fmt: skip
    yield (
        "recurrent_diagonal", (40,),
        [nn.Linear(40, 60), snn.RLeaky(beta=0.8, V=wide(60, -0.5, 0.5), all_to_all=False, init_hidden=True),
         nn.Linear(60, 10), leaky()],
        {}, 1.5,
    )  # fmt: skip


def reset(net):
    for layer in common.leaves(net):
        for name in ("mem", "syn", "spk"):
            if isinstance(getattr(layer, name, None), torch.Tensor):
                setattr(layer, name, torch.zeros_like(getattr(layer, name)))


def main():
    folder = common.out_dir()
    for seed, (name, shape, layers, reading, gain) in enumerate(networks()):
        net = nn.Sequential(*layers)
        common.weights(net, seed, gain)
        given = common.arriving(shape, seed)
        flat = common.leaves(net)
        spiking = [i for i, layer in enumerate(flat) if hasattr(layer, "mem")]
        trace = common.Trace(spiking)
        with torch.no_grad():
            net(given[0])
            reset(net)
            for step in given:
                x = step
                for i, layer in enumerate(flat):
                    x = layer(x)
                    if i in spiking:
                        trace.add(i, x, layer.mem)
        reset(net)
        seconds = common.seconds_a_step(lambda net=net, given=given: [net(step) for step in given])
        reset(net)
        common.write(folder / f"{name}.nir", export_to_nir(net, given[0], ignore_dims=[0]))
        common.save(folder, name, "snntorch", given, trace, seconds, reading)


main()
