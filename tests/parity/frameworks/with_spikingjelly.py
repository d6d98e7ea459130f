"""Networks of SpikingJelly: their NIR files, and what they did in 300 steps."""

import common
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import nn


def networks():
    def lif(**more):
        return neuron.LIFNode(tau=4.0, **more)

    yield "dense", (40,), [layer.Linear(40, 60), lif(), layer.Linear(60, 10), lif()], 9.0
    yield (
        "plain_input",
        (40,),
        [layer.Linear(40, 60), lif(decay_input=False), layer.Linear(60, 10), lif(decay_input=False)],
        2.0,
    )
    yield (
        "reset_low",
        (40,),
        [layer.Linear(40, 60), lif(v_reset=-0.2, v_threshold=0.8), layer.Linear(60, 10), lif()],
        9.0,
    )
    yield (
        "integrating",
        (40,),
        [layer.Linear(40, 60), neuron.IFNode(), layer.Linear(60, 10), neuron.IFNode()],
        1.5,
    )
    yield (
        "parametric",
        (40,),
        [
            layer.Linear(40, 60),
            neuron.ParametricLIFNode(init_tau=3.0),
            layer.Linear(60, 10),
            neuron.ParametricLIFNode(init_tau=6.0),
        ],
        8.0,
    )
    yield (
        "synaptic", (40,),
        [layer.Linear(40, 60), neuron.CUBALIFNode(c_decay=0.6, v_decay=0.8), layer.Linear(60, 10),
         neuron.CUBALIFNode(c_decay=0.5, v_decay=0.9)],
        0.8,
    )  # fmt: skip
    yield (
        "conv", (2, 34, 34),
        [layer.Conv2d(2, 16, 3, padding=1), lif(), layer.Conv2d(16, 32, 3, padding=1), lif(), layer.Flatten(),
         layer.Linear(32 * 34 * 34, 10), lif()],
        7.0,
    )  # fmt: skip
    yield (
        "pooled", (2, 16, 16),
        [layer.Conv2d(2, 8, 3, padding=1, bias=False), lif(), layer.AvgPool2d(2, 2), layer.Conv2d(8, 6, 3, stride=2),
         lif(), layer.Flatten(), layer.Linear(54, 7), lif()],
        13.0,
    )  # fmt: skip


def main():
    folder = common.out_dir()
    for seed, (name, shape, layers, gain) in enumerate(networks()):
        net = nn.Sequential(*layers)
        common.weights(net, seed, gain)
        given = common.arriving(shape, seed)
        spiking = [i for i, one in enumerate(net) if isinstance(one, neuron.BaseNode)]
        trace = common.Trace(spiking)
        with torch.no_grad():
            for step in given:
                x = step
                for i, one in enumerate(net):
                    x = one(x)
                    if i in spiking:
                        trace.add(i, x, one.v)
        functional.reset_net(net)
        seconds = common.seconds_a_step(lambda net=net, given=given: [net(step) for step in given])
        functional.reset_net(net)
        export_to_nir(net, given[0], save_path=folder / f"{name}.nir")
        common.save(folder, name, "spikingjelly", given, trace, seconds, {})


main()
