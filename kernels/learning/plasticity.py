"""Symmetric spike-timing-dependent plasticity, for a shallow classifier that a teacher makes fire.

A pair of spikes strengthens a synapse whichever came first, the closer the more; what did not take part grows weaker.
With traces tr' = lambda tr + s of both sides, when neuron j sends a spike

    w[i, j] += eta (tr_i - offset) (w_max - w[i, j]),      and when input i does, += eta tr_j (w_max - w[i, j]).

Weights stay in 0..w_max; each neuron's are then scaled to one sum. Hao et al., "A biologically plausible
supervised learning method for spiking neural networks using the symmetric STDP rule", Neural Networks 2020
(preprint 2018).
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32
from kernels.networks.synapses import I32


def pair(
    arrived: I32, fired: I32, before: F32, after: F32, weight: F32, eta: float, offset: float, largest: float
) -> None:
    """One step's changes, in place.

    Args:
        arrived: inputs that carried a spike.
        fired: neurons that sent one.
        before: [input] traces, this step's spikes included.
        after: [neuron] traces, this step's spikes not yet included.
        weight: [neuron, input], changed.
        eta: how fast.
        offset: traces below this count as silence.
        largest: w_max.
    """
    _pair(arrived, fired, before, after, weight, np.float32(eta), np.float32(offset), np.float32(largest))


def scale(weight: F32, total: float) -> None:
    """Each neuron's weights [neuron, input] multiplied so that they sum to ``total``, in place."""
    sums = weight.sum(axis=1, keepdims=True, dtype=np.float64)
    weight *= (total / np.maximum(sums, 1e-12)).astype(np.float32)


@kernel
def _pair(
    arrived: I32, fired: I32, before: F32, after: F32, weight: F32, eta: float, offset: float, largest: float
) -> None:
    for j in fired:
        for i in range(before.size):
            w = weight[j, i]
            w += eta * (before[i] - offset) * (largest - w)
            weight[j, i] = min(max(w, np.float32(0)), largest)
    for i in arrived:
        for j in range(after.size):
            if after[j] != 0:
                w = weight[j, i]
                w += eta * after[j] * (largest - w)
                weight[j, i] = min(max(w, np.float32(0)), largest)
