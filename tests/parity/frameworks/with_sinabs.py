"""Networks of sinabs: their NIR files, and what they did in 300 steps."""

import common
import nir
import sinabs.layers as sl
import torch
from sinabs.nir import to_nir
from torch import nn


def networks():
    def lif(**more):
        return sl.LIFSqueeze(tau_mem=10.0, batch_size=1, **more)

    def iaf(**more):
        return sl.IAFSqueeze(batch_size=1, **more)

    yield "dense", (40,), [nn.Linear(40, 60), lif(), nn.Linear(60, 10), lif()], {}, 14.0
    yield (
        "plain_input",
        (40,),
        [nn.Linear(40, 60), lif(norm_input=False), nn.Linear(60, 10), lif(norm_input=False)],
        {"normalised": False},
        2.0,
    )
    yield (
        "bounded",
        (40,),
        [nn.Linear(40, 60), iaf(min_v_mem=-1.0), nn.Linear(60, 10), iaf(min_v_mem=-1.0)],
        {"floor": -1.0},
        2.0,
    )
    yield (
        "synaptic",
        (40,),
        [nn.Linear(40, 60), lif(tau_syn=5.0), nn.Linear(60, 10), lif(tau_syn=3.0)],
        {},
        8.0,
    )
    yield (
        "nested",
        (40,),
        [nn.Sequential(nn.Linear(40, 60), lif()), nn.Sequential(nn.Sequential(nn.Linear(60, 10), lif()))],
        {},
        14.0,
    )
    yield "integrating", (40,), [nn.Linear(40, 60), iaf(), nn.Linear(60, 10), iaf()], {}, 3.0
    yield (
        "readout",
        (40,),
        [
            nn.Linear(40, 60),
            lif(),
            nn.Linear(60, 10),
            sl.ExpLeakSqueeze(tau_mem=20.0, batch_size=1, norm_input=True),
        ],
        {},
        13.0,
    )
    yield (
        "conv", (2, 34, 34),
        [nn.Conv2d(2, 16, 3, padding=1), lif(), nn.Conv2d(16, 32, 3, padding=1), lif(), nn.Flatten(),
         nn.Linear(32 * 34 * 34, 10), lif()],
        {}, 13.5,
    )  # fmt: skip
    yield (
        "pooled", (2, 16, 16),
        [nn.Conv2d(2, 8, 3, padding=1, bias=False), iaf(), sl.SumPool2d(2, 2), nn.Conv2d(8, 6, 3, stride=2), iaf(),
         nn.Flatten(), nn.Linear(54, 7), iaf()],
        {}, 0.8,
    )  # fmt: skip


def with_synapses(graph, constants):
    """Its exporter leaves tau_syn out: the layers are written as what they are."""
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.LIF)]
    for name, tau_syn in zip(names, constants, strict=True):
        lif = graph.nodes[name]
        graph.nodes[name] = nir.CubaLIF(
            tau_mem=lif.tau, tau_syn=tau_syn.detach().expand_as(lif.tau), r=lif.r, v_leak=lif.v_leak,
            v_threshold=lif.v_threshold, w_in=1.0,
        )  # fmt: skip


def main():
    folder = common.out_dir()
    for seed, (name, shape, layers, reading, gain) in enumerate(networks()):
        net = nn.Sequential(*layers)
        common.weights(net, seed, gain)
        given = common.arriving(shape, seed)
        flat = common.leaves(net)
        spiking = [
            i for i, layer in enumerate(flat) if hasattr(layer, "v_mem") or hasattr(layer, "reset_states")
        ]
        trace = common.Trace(spiking)
        with torch.no_grad():
            net(given[0])
            for i in spiking:
                flat[i].reset_states()
            for step in given:
                x = step
                for i, layer in enumerate(flat):
                    x = layer(x)
                    if i in spiking:
                        trace.add(i, x, layer.v_mem)
        for i in spiking:
            flat[i].reset_states()
        seconds = common.seconds_a_step(lambda net=net, given=given: [net(step) for step in given])
        together = common.seconds_a_step(lambda net=net, given=given: net(given[:, 0]))
        graph = to_nir(net, given[0])
        if name == "synaptic":
            with_synapses(graph, [flat[i].tau_syn for i in spiking])
        common.write(folder / f"{name}.nir", graph)
        common.save(folder, name, "sinabs", given, trace, min(seconds, together), reading)


main()
