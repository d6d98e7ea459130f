"""What a network costs: operations, sparsity, bits and an estimate of energy.

The measures are NeuroBench's (Yik et al., Nature Communications 2025): footprint in bytes; connection sparsity,
the share of weights that are 0; activation sparsity, the share of neurons that send nothing in a step; effective
MACs and ACs, multiplications (of graded activations) and additions (of spikes) by weights and inputs that are
not 0. Bit Budget (Shen et al., CVPR 2024): steps x bits of a weight x bits of a spike; synaptic cost: the sum over
the layers of MACs x bits of a weight x bits of an activation.

Energy counts arithmetic only: 0.9 pJ for a 32-bit float addition, 3.7 pJ more for the multiplication of a MAC,
0.1 and 3.1 pJ for 32-bit integers, 45 nm, 0.9 V: Horowitz, "Computing's energy problem", ISSCC 2014. Memory
costs more than that on any processor; compare these figures with each other, not with a meter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.networks import delta
from kernels.networks.neurons import ADDITIONS, EVENTS, SPIKES, STEPS, UPDATES
from pipeline.models.delta import DeltaNetwork, DeltaRun
from pipeline.models.spiking import INPUT, LayerCard, Run, SpikingNetwork

FLOAT_ADD_PJ, FLOAT_MULTIPLY_PJ = 0.9, 3.7
INTEGER_ADD_PJ, INTEGER_MULTIPLY_PJ = 0.1, 3.1
SOURCE = "Horowitz, ISSCC 2014, 45 nm: float add 0.9 pJ, multiply 3.7 pJ; int32 add 0.1 pJ, multiply 3.1 pJ"
_WEIGHT_BITS = 32
_PER_NEURON = 3
"""Multiplications and additions of a neuron's update: decay, gain, sum."""


def of_network(network: SpikingNetwork) -> dict[str, Any]:
    """What is known before anything runs."""
    card = network.card
    weights = [
        tensor for name, tensor in network.tensors.items() if name.endswith("/weight")
    ]  # fmt: skip
    parameters = sum(int(np.size(tensor)) for tensor in network.tensors.values())
    zeros = sum(int(np.size(tensor) - np.count_nonzero(tensor)) for tensor in weights)
    steps = card.encoding.steps if card.encoding and card.encoding.steps else 1
    graded = bool(card.encoding and card.encoding.most > 1)
    spike_bits = int(np.ceil(np.log2(card.encoding.most + 1))) if graded and card.encoding else 1
    macs = {layer.name: dense_macs(network, layer) for layer in card.layers}
    return {
        "parameters": parameters,
        "footprint_bytes": sum(int(np.asarray(tensor).nbytes) for tensor in network.tensors.values()),
        "state_bytes": sum(
            array.nbytes for state in Run(network).states.values() for array in state
        ),
        "connection_sparsity": round(zeros / max(1, sum(int(np.size(tensor)) for tensor in weights)), 4),
        "neurons": sum(layer.size for layer in network.layers.values()),
        "dense_macs_a_step": sum(macs.values()),
        "bit_budget": steps * _WEIGHT_BITS * spike_bits,
        "synaptic_cost_a_step": sum(
            macs[layer.name] * _WEIGHT_BITS * (spike_bits if layer.inputs[0].source == INPUT else 1)
            for layer in card.layers
        ),
    }  # fmt: skip


def of_run(network: SpikingNetwork, run: Run) -> dict[str, Any]:
    """What a stream has cost so far."""
    steps = max((int(state.counts[STEPS]) for state in run.states.values()), default=0)
    totals = {"synops": 0, "effective_acs": 0, "effective_macs": 0, "neuron_updates": 0, "spikes": 0}
    silent = spiking = 0
    for layer in network.card.layers:
        counts = run.states[layer.name].counts
        graded = _graded_input(network, layer)
        totals["synops"] += int(counts[ADDITIONS])
        totals["effective_macs" if graded else "effective_acs"] += int(counts[ADDITIONS])
        totals["neuron_updates"] += int(counts[UPDATES])
        if not layer.neuron.sends_potential and layer.neuron.model != "linear":
            totals["spikes"] += int(counts[SPIKES])
            silent += network.layers[layer.name].size * steps - int(counts[SPIKES])
            spiking += network.layers[layer.name].size * steps
    arrived = int(run.states[network.order[0]].counts[EVENTS]) if network.order else 0
    dense = steps * sum(dense_macs(network, layer) for layer in network.card.layers)
    return {
        "steps": steps, "input_spikes": arrived, **totals, "dense_macs": dense,
        "activation_sparsity": round(silent / spiking, 4) if spiking else None,
        "operation_sparsity": round(1 - totals["synops"] / dense, 4) if dense else None,
        "energy_uj": round(energy_pj(totals) * 1e-6, 6), "energy_source": SOURCE,
    }  # fmt: skip


def energy_pj(totals: dict[str, int]) -> float:
    """Arithmetic of spikes, graded activations and neurons, pJ."""
    mac = FLOAT_ADD_PJ + FLOAT_MULTIPLY_PJ
    return (
        totals["effective_acs"] * FLOAT_ADD_PJ + totals["effective_macs"] * mac
        + totals["neuron_updates"] * _PER_NEURON * mac
    )  # fmt: skip


def dense_macs(network: SpikingNetwork, layer: LayerCard) -> int:
    """Multiplications of a step if every input were active."""
    channels, height, width = layer.shape
    shapes = {INPUT: network.card.input, **{one.name: one.shape for one in network.card.layers}}
    total = 0
    for i, one in enumerate(layer.inputs):
        source = shapes[one.source]
        outputs = channels * height * width
        if one.op == "dense":
            total += outputs * source[0] * source[1] * source[2]
        elif one.op == "conv2d":
            weight = network.tensors[f"{layer.name}/{i}/weight"]
            total += outputs * int(np.prod(weight.shape[1:]))
        elif one.op == "one_to_one":
            total += outputs
        else:
            total += outputs * one.size[0] * one.size[1]
    return total


def _graded_input(network: SpikingNetwork, layer: LayerCard) -> bool:
    """Whether what arrives are numbers rather than spikes."""
    by_name = {one.name: one for one in network.card.layers}
    encoding = network.card.encoding
    for one in layer.inputs:
        if one.source == INPUT:
            if encoding is not None and encoding.most > 1:
                return True
            continue
        neuron = by_name[one.source].neuron
        if neuron.sends_potential or neuron.model == "linear" or neuron.many:
            return True
    return False


def of_delta(network: DeltaNetwork) -> dict[str, Any]:
    """What is known of a Delta network before anything runs."""
    card = network.card
    weights = [tensor for name, tensor in network.tensors.items() if name.endswith("/weight")]
    bits = int(np.ceil(np.log2(card.weight_top + 1))) + 1
    macs = delta_macs(network)
    tops = [card.input_top, *(one.top for one in card.layers)]
    level_bits = [int(np.ceil(np.log2(top + 1))) for top in tops]
    return {
        "parameters": sum(int(np.size(tensor)) for tensor in network.tensors.values()),
        "footprint_bytes": sum(int(np.asarray(tensor).nbytes) for tensor in network.tensors.values()),
        "state_bytes": sum(array.nbytes for state in DeltaRun(network).states for array in state),
        "connection_sparsity": round(
            sum(int(np.size(one) - np.count_nonzero(one)) for one in weights)
            / max(1, sum(int(np.size(one)) for one in weights)), 4,
        ),
        "neurons": sum(int(np.prod(one.shape)) for one in card.layers),
        "dense_macs_a_step": sum(macs),
        "bit_budget": bits * max(level_bits[:-1]),
        "synaptic_cost_a_step": sum(n * bits * read for n, read in zip(macs, level_bits, strict=False)),
    }  # fmt: skip


def of_delta_run(network: DeltaNetwork, run: DeltaRun) -> dict[str, Any]:
    """What a stream through a Delta network has cost so far."""
    additions = sum(int(state.counts[delta.ADDITIONS]) for state in run.states)
    updates = sum(int(state.counts[delta.UPDATES]) for state in run.states)
    sent = sum(int(state.counts[delta.SENT]) for state in run.states[:-1])
    sizes = sum(int(np.prod(one.shape)) for one in network.card.layers[:-1]) * run.steps
    dense = sum(delta_macs(network)) * run.steps
    energy = (additions + updates) * (INTEGER_ADD_PJ + INTEGER_MULTIPLY_PJ)
    return {
        "steps": run.steps, "effective_macs": additions, "effective_acs": 0, "synops": additions,
        "neuron_updates": updates, "changes_sent": sent, "dense_macs": dense,
        "activation_sparsity": round(1 - sent / sizes, 4) if sizes else None,
        "operation_sparsity": round(1 - additions / dense, 4) if dense else None,
        "energy_uj": round(energy * 1e-6, 6), "energy_source": SOURCE,
    }  # fmt: skip


def delta_macs(network: DeltaNetwork) -> list[int]:
    """Of each layer, multiplications of a step if nothing were skipped."""
    sides = [network.card.input, *(one.shape for one in network.card.layers)]
    macs: list[int] = []
    for source, one in zip(sides, network.card.layers, strict=False):
        outputs = int(np.prod(one.shape))
        if one.op == "dense":
            macs.append(outputs * int(np.prod(source)))
        elif one.op == "conv2d":
            macs.append(outputs * int(np.prod(network.tensors[f"{one.name}/weight"].shape[1:])))
        else:
            macs.append(outputs * one.size[0] * one.size[1] if one.op == "average_pool" else 0)
    return macs
