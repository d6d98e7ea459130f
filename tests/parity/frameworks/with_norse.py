"""Networks of Norse: their NIR files, and what they did in 300 steps."""

import itertools

import common
import nir
import norse.torch as norse
import torch
from norse.torch.utils.export_nir import _extract_norse_module as extract
from norse.torch.utils.export_nir import to_nir
from torch import nn


def box(**values):
    return norse.LIFBoxCell(p=norse.LIFBoxParameters(**{k: torch.as_tensor(v) for k, v in values.items()}))


def cuba(**values):
    return norse.LIFCell(p=norse.LIFParameters(**{k: torch.as_tensor(v) for k, v in values.items()}))


def networks():
    fast = {"tau_mem_inv": 300.0}
    yield "dense", (40,), [nn.Linear(40, 60), box(**fast), nn.Linear(60, 10), box(**fast)], 8.0
    yield (
        "leaking_up",
        (40,),
        [nn.Linear(40, 60), box(v_leak=0.3, tau_mem_inv=200.0), nn.Linear(60, 10), box()],
        10.0,
    )
    yield (
        "many_taus", (40,),
        [nn.Linear(40, 60), box(tau_mem_inv=torch.linspace(50, 500, 60), v_th=torch.linspace(0.3, 1.0, 60), v_leak=torch.zeros(60)),
         nn.Linear(60, 10), box()],
        8.0,
    )  # fmt: skip
    yield "synaptic", (40,), [nn.Linear(40, 60), cuba(tau_mem_inv=200.0), nn.Linear(60, 10), cuba()], 5.0
    low = {"v_reset": -0.25}
    yield (
        "synaptic_reset_below",
        (40,),
        [nn.Linear(40, 60), cuba(tau_mem_inv=200.0, **low), nn.Linear(60, 10), cuba(**low)],
        5.0,
    )
    yield (
        "reset_below",
        (40,),
        [nn.Linear(40, 60), box(**fast, **low), nn.Linear(60, 10), box(**fast, **low)],
        8.0,
    )
    yield (
        "nested",
        (40,),
        [
            norse.SequentialState(nn.Linear(40, 60), box(**fast)),
            norse.SequentialState(
                nn.Linear(60, 30), norse.SequentialState(box(**fast), nn.Linear(30, 10), box())
            ),
        ],
        8.0,
    )
    yield "integrating", (40,), [nn.Linear(40, 60), norse.IAFCell(), nn.Linear(60, 10), norse.IAFCell()], 1.0
    yield "readout", (40,), [nn.Linear(40, 60), box(**fast), nn.Linear(60, 10), norse.LIBoxCell()], 8.0
    yield (
        "conv", (2, 34, 34),
        [nn.Conv2d(2, 16, 3, padding=1), box(**fast), nn.Conv2d(16, 32, 3, padding=1), box(**fast), nn.Flatten(),
         nn.Linear(32 * 34 * 34, 10), box(**fast)],
        5.5,
    )  # fmt: skip


def main():
    folder = common.out_dir()
    for seed, (name, shape, layers, gain) in enumerate(networks()):
        if name == "conv":  # its exporter knows no Flatten
            conv(folder, seed, shape, layers, gain)
            continue
        net = norse.SequentialState(*layers)
        run(folder, name, seed, shape, net, gain)


def run(folder, name, seed, shape, net, gain, file=None):
    common.weights(net, seed, gain)
    given = common.arriving(shape, seed)
    layers = common.leaves(net)
    spiking = [i for i, layer in enumerate(layers) if hasattr(layer, "p")]
    trace, states = common.Trace(spiking), [None] * len(layers)
    with torch.no_grad():
        for step in given:
            x = step
            for i, layer in enumerate(layers):
                if i in spiking:
                    x, states[i] = layer(x, states[i])
                    trace.add(i, x, states[i].v)
                else:
                    x = layer(x)

    def again():
        state = None
        for step in given:
            _, state = net(step, state)

    seconds = common.seconds_a_step(again)
    common.write(folder / f"{name}.nir", file or to_nir(net, given[0]))
    reading = {"v_reset": -0.25} if "reset_below" in name else {}
    common.save(folder, name, "norse", given, trace, seconds, reading)


def conv(folder, seed, shape, layers, gain):
    """Its exporter knows no Flatten: the graph is written by hand from what it makes of each part."""
    net = norse.SequentialState(*layers)
    common.weights(net, seed, gain)
    nodes = {"input": nir.Input(input_type={"input": shape})}
    for i, layer in enumerate(layers):
        flat = nir.Flatten(input_type={"input": (32, 34, 34)}, start_dim=0, end_dim=-1)
        nodes[str(i)] = flat if isinstance(layer, nn.Flatten) else extract(layer)
    nodes["output"] = nir.Output(output_type={"output": (10,)})
    names = list(nodes)
    graph = nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)), type_check=False)
    run(folder, "conv", seed, shape, net, gain, graph)


main()
