"""A reservoir: excitatory and inhibitory neurons with random synapses that adjust themselves to their input.

    v = decay v + sum of w over what arrives now and over what the reservoir sent one step before,
    a spike where v >= threshold, then v = 0.

Two rules keep it near the edge between silence and noise. Balance: each neuron i keeps a running rate r_i, and
each inhibitory synapse j -> i that carried a spike moves by -eta (r_i - target), so every neuron finds its
target rate ("E/I balance" reservoirs, 2025, after Vogels et al., Science 2011). Astrocyte: excitatory synapses
learn by pairs of spikes, dw = a_plus tr_j where i spikes and -a_minus tr_i where j does, and a_minus follows
the leaky integral of how much more the reservoir sends than it gets (NALSM: Ivanov & Michmizos, NeurIPS 2021).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32, I64, P
from kernels.networks.synapses import I32, Spikes


class Rules(NamedTuple):
    """Constants, a step.

    Attributes:
        decay: of potentials.
        threshold: at which a spike leaves.
        target: rate that balance aims at, spikes a step.
        eta: how fast inhibitory synapses move; 0: they do not.
        rate_decay: of the running rates.
        a_plus: how much a pair strengthens an excitatory synapse; 0: they do not learn.
        trace_decay: of the traces of spikes.
        astro_decay: of the astrocyte's integral.
        astro_gain: what a spike adds to it; spikes that arrive count negative.
        astro_base: a_minus where the integral is 0.
        largest: no weight grows beyond this.
    """

    decay: float = 0.9
    threshold: float = 1.0
    target: float = 0.05
    eta: float = 0.01
    rate_decay: float = 0.98
    a_plus: float = 0.0
    trace_decay: float = 0.8
    astro_decay: float = 0.95
    astro_gain: float = 1e-5
    astro_base: float = 1e-3
    largest: float = 2.0


class Weights(NamedTuple):
    """Synapses, each row those that one source sends along.

    Attributes:
        given: [input, neuron].
        own: [neuron, neuron]; rows of inhibitory neurons are not above 0, others not below.
        inhibitory: [neuron].
    """

    given: F32
    own: F32
    inhibitory: P


class State(NamedTuple):
    """What the reservoir remembers; the kernel changes it, and the weights, in place.

    Attributes:
        v: [neuron] potentials.
        sent: [neuron] who sent a spike one step before.
        rate: [neuron] running rates.
        trace: [neuron] traces of spikes.
        astro: [1] the astrocyte's integral.
    """

    v: F32
    sent: P
    rate: F32
    trace: F32
    astro: F32


def new_weights(
    inputs: int, neurons: int, seed: int, *, density: float = 0.1, inputs_each: int = 40, gain: float = 1.0
) -> Weights:
    """Random synapses: a fifth of the neurons inhibits; each hears so many inputs and a share of the others."""
    rng = np.random.default_rng(seed)
    given = np.zeros((inputs, neurons), np.float32)
    each = min(inputs_each, inputs)
    for i in range(neurons):
        given[rng.choice(inputs, each, replace=False), i] = (
            rng.uniform(-0.5, 1.0, each) * gain / np.sqrt(each)
        )
    inhibitory = np.arange(neurons) >= neurons - neurons // 5
    own = rng.uniform(0, 1, (neurons, neurons)) * (rng.random((neurons, neurons)) < density)
    own *= 1.5 / np.sqrt(max(1.0, density * neurons)) * np.where(inhibitory, -2.0, 1.0)[:, None]
    np.fill_diagonal(own, 0.0)
    return Weights(given, own.astype(np.float32), inhibitory)


def new_state(neurons: int, target: float) -> State:
    """At rest; rates at their target."""
    return State(
        np.zeros(neurons, np.float32), np.zeros(neurons, np.bool_), np.full(neurons, target, np.float32),
        np.zeros(neurons, np.float32), np.zeros(1, np.float32),
    )  # fmt: skip


def rest(state: State) -> None:
    """Potentials, spikes and traces back to the start; what was learned stays."""
    state.v[:] = 0
    state.sent[:] = False
    state.trace[:] = 0


def advance(arriving: Spikes, weights: Weights, state: State, rules: Rules) -> Spikes:
    """Go through the steps of ``arriving``; returns the reservoir's spikes."""
    neurons, steps = len(state.v), arriving.steps
    offsets = np.zeros(steps + 1, np.int64)
    index = np.empty(neurons * max(steps, 1), np.int32)
    constants = tuple(np.float32(value) for value in rules)
    _advance(
        arriving.offsets, arriving.index, arriving.value, *weights, *state, *constants, offsets, index
    )  # fmt: skip
    n = offsets[-1]
    return Spikes(offsets, index[:n].copy(), np.ones(n, np.float32))


@kernel
def _advance(
    offsets: I64, index: I32, value: F32, given: F32, own: F32, inhibitory: P, v: F32, sent: P, rate: F32,
    trace: F32, astro: F32, decay: float, threshold: float, target: float, eta: float, rate_decay: float,
    a_plus: float, trace_decay: float, astro_decay: float, astro_gain: float, astro_base: float, largest: float,
    out_offsets: I64, out: I32,
) -> None:  # fmt: skip
    n, one, zero = 0, np.float32(1), np.float32(0)
    now = np.zeros(v.size, np.bool_)
    for k in range(offsets.size - 1):
        for i in range(v.size):
            v[i] *= decay
        for e in range(offsets[k], offsets[k + 1]):
            row, s = given[index[e]], value[e]
            for i in range(v.size):
                v[i] += s * row[i]
        for j in range(v.size):
            if sent[j]:
                row = own[j]
                for i in range(v.size):
                    v[i] += row[i]
        first = n
        for i in range(v.size):
            now[i] = v[i] >= threshold
            rate[i] = rate_decay * rate[i] + (one - rate_decay) * (one if now[i] else zero)
            if now[i]:
                v[i] = zero
                out[n] = i
                n += 1
        if eta > 0:
            _balance(own, inhibitory, sent, rate, target, eta, largest)
        if a_plus > 0:
            arrived = np.float32(offsets[k + 1] - offsets[k])
            astro[0] = astro_decay * astro[0] + astro_gain * (np.float32(n - first) - arrived)
            _pairs(own, inhibitory, sent, now, trace, a_plus, max(astro_base + astro[0], zero), largest)
        for i in range(v.size):
            trace[i] = trace_decay * trace[i] + (one if now[i] else zero)
            sent[i] = now[i]
        out_offsets[k + 1] = n


@kernel
def _balance(own: F32, inhibitory: P, sent: P, rate: F32, target: float, eta: float, largest: float) -> None:
    for j in range(sent.size):
        if sent[j] and inhibitory[j]:
            for i in range(sent.size):
                if own[j, i] != 0:
                    moved = own[j, i] - eta * (rate[i] - target)
                    # Not quite 0, or a synapse that was there could never come back.
                    own[j, i] = min(max(moved, -largest), np.float32(-1e-6))


@kernel
def _pairs(
    own: F32, inhibitory: P, sent: P, now: P, trace: F32, a_plus: float, a_minus: float, largest: float
) -> None:
    for j in range(sent.size):
        if inhibitory[j]:
            continue
        for i in range(sent.size):
            w = own[j, i]
            if w == 0 or inhibitory[i]:
                continue
            if now[i]:
                w += a_plus * trace[j]
            if sent[j]:
                w -= a_minus * trace[i]
            own[j, i] = min(max(w, np.float32(1e-6)), largest)
