"""Ours beside a framework's trace of the same network: potentials teacher-forced, spikes free-running."""

import json
import time
from dataclasses import dataclass

import numpy as np

from kernels.networks import neurons
from pipeline.models.nir_graph import read
from pipeline.models.profiles import Reading
from pipeline.models.spiking import INPUT, Run, SpikingNetwork, dense, sparse

CLOSE = 1e-5


@dataclass
class Verdict:
    """What came out of one network.

    Attributes:
        name: of the network.
        source: which framework's.
        potential: largest difference of a potential, where what arrives and what was before are the framework's.
        forced: spikes that differ then; all of them lie within 1e-5 of the threshold, or ``excused`` is false.
        diverged: the first step at which free-running spikes differ, or -1.
        excused: whether the first spikes that differ lie within 1e-5 of the threshold.
        theirs: seconds a step, batch 1, one thread.
        ours: likewise.
        rates: share of neurons that sent a spike in a step, by layer.
    """

    name: str
    source: str
    potential: float
    forced: int
    diverged: int
    excused: bool
    theirs: float
    ours: float
    rates: list[float]


def load(path):
    """(network, given [step, input], {layer: (spikes, v)}, about)."""
    with np.load(path) as saved:
        about = json.loads(str(saved["about"]))
        trace = {key: saved[key] for key in saved if "/" in key}
        given = saved["input"]
    card, tensors = read(
        path.with_suffix(".nir"), Reading(source=about["source"], **about["reading"]), about["name"]
    )
    network = SpikingNetwork.of(card.model_dump(), tensors, "")
    spiking = [layer.name for layer in card.layers if layer.neuron.model != "linear"]
    numbers = sorted({int(key.split("/")[0]) for key in trace})
    assert len(spiking) == len(numbers), (spiking, numbers)
    # The card's order is that of the graph; so is the trace's.
    spiking.sort(key=network.order.index)
    traces = {
        name: (
            to_last(trace[f"{i}/spikes"], network, name),
            to_last(trace[f"{i}/v"], network, name),
        )
        for name, i in zip(spiking, numbers, strict=True)
    }
    return network, to_last(given, network, INPUT), traces, about


def to_last(rows, network, name):
    """[step, (channel, y, x)] as [step, (y, x, channel)]."""
    shapes = {INPUT: network.card.input, **{layer.name: layer.shape for layer in network.card.layers}}
    channels, height, width = shapes[name]
    return np.ascontiguousarray(
        rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(rows), -1)
    )


def potentials(network, run, name):
    layer = network.layers[name]
    return run.states[name].v[:, : layer.synapses.channels].ravel()


def forced(network, given, traces):
    """(largest difference of a potential, spikes that differ, whether all of those lie at the threshold)."""
    run, worst, differing, excused = Run(network, lazy=False), 0.0, 0, True
    for step in range(len(given)):
        sent = {INPUT: sparse(given[step : step + 1])}
        for name in network.order:
            state, layer = run.states[name], network.layers[name]
            if name in traces and step:
                state.v[:, : layer.synapses.channels] = traces[name][1][step - 1].reshape(
                    -1, layer.synapses.channels
                )
            sent[name] = run._layer(name, sent)
            if name not in traces:
                continue
            mine, spikes, v = dense(sent[name], layer.size)[0], traces[name][0][step], traces[name][1][step]
            now = potentials(network, run, name)
            if layer.neurons.sends_potential:
                worst = max(worst, float(np.abs(mine - spikes).max()))
            else:
                other = mine != spikes
                worst = max(worst, float(np.abs(now - v)[~other].max(initial=0)))
                differing += int(other.sum())
                excused &= bool((margin(layer, now, v, mine, spikes)[other] < CLOSE).all())
            sent[name] = sparse(spikes[None])
        run._before = {name: sent[name] for name in network.order}
        for name, state in run.states.items():
            if network.layers[name].loop >= 0:  # what it hears of itself is the framework's too
                spikes, n = sent[name], len(sent[name].index)
                state.before[:n], state.before_value[:n], state.before_count[0] = (
                    spikes.index,
                    spikes.value,
                    n,
                )
    return worst, differing, excused


def margin(layer, mine_v, theirs_v, mine, theirs):
    """How far from the threshold a potential was: that of the one that sent no spike (or fewer)."""
    channels = layer.synapses.channels
    level = layer.neurons.coefficient[neurons.COEFFICIENTS.index("threshold")][:, :channels]
    level = np.broadcast_to(level, (layer.synapses.sites, channels)).ravel()
    if layer.neurons.reset.startswith("delayed"):
        return np.minimum(np.abs(mine_v - level), np.abs(theirs_v - level))
    return np.abs(np.where(mine > theirs, theirs_v, mine_v) - level)


def free(network, given, traces):
    """(first step at which a layer's spikes differ or -1, whether that was at the threshold)."""
    run = Run(network)
    sent = run.advance(sparse(given))
    for step in range(len(given)):
        for name in network.order:
            layer = network.layers[name]
            if name not in traces or layer.neurons.sends_potential:
                continue
            mine = dense(sent[name], layer.size)[step]
            if (mine != traces[name][0][step]).any():
                return step, at_threshold(network, given, traces, step)
    return -1, True


def at_threshold(network, given, traces, until):
    """Whether the spikes that first differ lie at the threshold, in a run that stops there."""
    run = Run(network, lazy=False)
    for step in range(until + 1):
        sent = run.advance(sparse(given[step : step + 1]))
    for name in network.order:
        layer = network.layers[name]
        if name not in traces or layer.neurons.sends_potential:
            continue
        mine, theirs = dense(sent[name], layer.size)[0], traces[name][0][until]
        other = mine != theirs
        if other.any():
            v = potentials(network, run, name)
            return bool((margin(layer, v, traces[name][1][until], mine, theirs)[other] < CLOSE).all())
    return True


def seconds_a_step(network, given):
    """The best of five runs over all steps, one thread."""
    spikes, best = sparse(given), []
    for _ in range(6):
        run = Run(network)
        start = time.perf_counter()
        run.advance(spikes)
        best.append((time.perf_counter() - start) / len(given))
    return min(best)


def compare(path):
    """The verdict on one network."""
    network, given, traces, about = load(path)
    potential, differing, forced_excused = forced(network, given, traces)
    diverged, excused = free(network, given, traces)
    rates = [float((spikes != 0).mean()) for spikes, _ in traces.values()]
    return Verdict(
        about["name"], about["source"], potential, differing, diverged, excused and forced_excused,
        about["seconds_a_step"], seconds_a_step(network, given), rates,
    )  # fmt: skip
