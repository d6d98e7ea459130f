"""A layer of spiking neurons: what arrives is summed, potentials leak, spikes leave.

With x the weighted input of a step, one step of each model is, in float32 and in this order,

    linear      u = x + c                               what is not 0 is sent on as it is
    threshold   u = x + c                               a spike where it passes; nothing is remembered
    lif         u = d v + g x + c                       LIF, PLIF, IF (d = 1), LI and I (no spikes)
    cuba        i = e i + w (x + b);  u = d v + g i + c CuBa-LIF, CuBa-LI
    alif        a = r a;  as lif with threshold + a;  then a = a + q spike

A spike leaves where u > threshold (or >=), and the potential is then reset: to a value (hard), by what it
is less (subtract), or so in the step after (delayed: ``delayed_hard`` sets it before that step's input,
``delayed_clear`` behind it), or by what it is less, but not twice (``residual``, snnTorch's ``reset_delay=False``:
with r = 1 where it was above already before this step's input, u = d u' + ... - r l, and u - (s - r) l stays behind
a step with s spikes). d, g, c ... come from time constants by Euler's
method or exactly, :func:`coefficients`.

Each site (y, x) of a layer is updated either in every step, or only when a spike arrived or one may
leave (``lazy``): what it missed is then made up for, multiplication by multiplication, so both ways send
the same spikes to the last bit, and work follows the spikes. Sources: Gerstner et al., "Neuronal Dynamics",
2014 (LIF); Bellec et al., NeurIPS 2018 (ALIF); Fang et al., ICCV 2021 (PLIF); Pedersen et al., "NIR", Nature
Communications 2024 (CuBa, and the names).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels._lanes import any_nonzero, charge_lif, charge_synapse, multiply, padded
from kernels.columns import F32, I64, U64, P
from kernels.networks.synapses import I16, I32, Spikes, Synapses, scatter, scatter_delayed

Model = Literal["linear", "threshold", "lif", "cuba", "alif"]
Reset = Literal["none", "hard", "subtract", "delayed_hard", "delayed_clear", "delayed_subtract", "residual"]
Method = Literal["euler", "exact"]

_LINEAR, _THRESHOLD, _LIF, _CUBA, _ALIF = range(5)
_MODELS: tuple[Model, ...] = ("linear", "threshold", "lif", "cuba", "alif")
_NONE, _HARD, _SUBTRACT, _DELAYED_HARD, _DELAYED_CLEAR, _DELAYED_SUBTRACT, _RESIDUAL = range(7)
_RESETS: tuple[Reset, ...] = (
    "none", "hard", "subtract", "delayed_hard", "delayed_clear", "delayed_subtract", "residual",
)  # fmt: skip

COEFFICIENTS = (
    "decay", "gain", "constant", "threshold", "reset_to", "floor", "syn_decay", "syn_gain", "bias", "ahead",
    "adapt_decay", "adapt_step",
)  # fmt: skip
"""Rows of :attr:`Neurons.coefficient`, each of them [site or 1, channel]."""
_DECAY, _GAIN, _CONSTANT, _LEVEL, _RESET, _FLOOR, _SYN_DECAY, _SYN_GAIN, _BIAS, _AHEAD, _RHO, _STEP = range(
    12
)

EVENTS, ADDITIONS, UPDATES, SPIKES, STEPS = range(5)
"""What :attr:`State.counts` counts: spikes that arrived, weights added, neurons updated, spikes that left, steps."""


@dataclass(frozen=True, eq=False)
class Neurons:
    """What the neurons of a layer are.

    Attributes:
        model: see above.
        reset: what happens to the potential of a neuron that sent a spike.
        non_strict: a spike leaves at the threshold already.
        many: as many spikes leave in a step as thresholds fit into the potential; the value is their number.
        sends_potential: the potential is sent in each step instead of spikes.
        channels: of a site.
        coefficient: [12, site or 1, channel] float32, channels padded to whole blocks of lanes.
    """

    model: Model
    reset: Reset
    non_strict: bool
    many: bool
    sends_potential: bool
    channels: int
    coefficient: F32

    @property
    def may_rest(self) -> bool:
        """Whether a neuron that nothing arrives at can be left alone."""
        c = self.coefficient[:, :, : self.channels]
        quiet = (c[_CONSTANT] == 0).all() and (c[_BIAS] == 0).all() and (c[_FLOOR] <= 0).all()
        leaks = ((c[_DECAY] >= 0) & (c[_DECAY] <= 1)).all() and (
            (c[_SYN_DECAY] >= 0) & (c[_SYN_DECAY] < 1)
        ).all()
        positive = (c[_LEVEL] > 0).all() and ((c[_RHO] >= 0) & (c[_STEP] >= 0)).all()
        below = (c[_RESET] <= c[_LEVEL]).all() or self.reset != "hard"
        return bool(quiet and leaks and positive and below and not self.sends_potential)


def neurons(
    model: Model, channels: int, *, sites: int = 1, reset: Reset = "none", non_strict: bool = False,
    many: bool = False, sends_potential: bool = False, **values: Any,
) -> Neurons:  # fmt: skip
    """Neurons whose coefficients are given by name, each a number, [channel] or [site, channel].

    Raises:
        ValueError: a coefficient has no such name.
    """
    unknown = set(values) - set(COEFFICIENTS)
    if unknown:
        raise ValueError(f"coefficients: {sorted(unknown)} are none of {', '.join(COEFFICIENTS)}")
    known = {"decay": 0.0, "gain": 1.0, "threshold": 1.0, "floor": -np.inf, "syn_gain": 1.0, **values}
    known["ahead"] = _ahead(known)
    rows = [np.asarray(known.get(name, 0.0), np.float32) for name in COEFFICIENTS]
    rows_at = 1 if all(row.ndim < 2 or row.shape[0] == 1 for row in rows) else sites
    laid = np.zeros((len(COEFFICIENTS), rows_at, padded(channels)), np.float32)
    laid[_LEVEL] = np.inf  # lanes that only fill a block up never pass
    for row, values_ in zip(laid, rows, strict=True):
        row[:, :channels] = values_
    if model in {"linear", "threshold"}:  # nothing is remembered
        laid[_DECAY], laid[_FLOOR] = 0, -np.inf
    return Neurons(model, reset, non_strict, many, sends_potential, channels, laid)


def leak(tau: Any, dt: float, method: Method) -> NDArray[np.float64]:
    """The share of a potential that is left after a step of ``dt``: 1 - dt / tau, or exp(-dt / tau)."""
    ratio = dt / np.asarray(tau, np.float64)
    return np.exp(-ratio) if method == "exact" else 1.0 - ratio


def _ahead(values: dict[str, Any]) -> NDArray[np.float32]:
    """What a synaptic current can still add to a potential, at most, per unit of current."""
    gain, kept = np.asarray(values["gain"], np.float64), np.asarray(values.get("syn_decay", 0.0), np.float64)
    with np.errstate(divide="ignore"):
        most = np.where(kept < 1, np.abs(gain) / np.where(kept < 1, 1 - kept, 1), 1e30)
    return (most * 1.001).astype(np.float32)


class State(NamedTuple):
    """What a layer remembers; its kernel changes it in place. Channels are padded to whole blocks of lanes.

    Attributes:
        v: [site, channel] potentials.
        i: synaptic currents, and
        a: adaptations; empty where the model has none.
        x: [slot, site, channel] what will arrive, by step modulo the longest delay.
        touched: [slot, words] sites where something will arrive, as bits.
        awake: [words] sites that may send a spike although nothing arrives.
        stamp: [site] the step that its state is of.
        before: what a layer that hears itself sent in the last step; so are ``before_value`` and ``before_count``.
        clock: [1] steps done.
        counts: [5] int64, :data:`EVENTS` ... :data:`STEPS`.
    """

    v: F32
    i: F32
    a: F32
    x: F32
    touched: U64
    awake: U64
    stamp: I64
    clock: I64
    before: I32
    before_value: F32
    before_count: I64
    counts: I64


@dataclass(frozen=True, eq=False)
class Layer:
    """Synapses and neurons of a layer; read-only.

    Attributes:
        synapses: what arrives.
        neurons: what becomes of it.
        start: the potential at the start, a number, [channel] or [site, channel].
        loop: first number, among its inputs, of what the layer itself sent one step before; -1: none.
    """

    synapses: Synapses
    neurons: Neurons
    start: Any = 0.0
    loop: int = -1

    @property
    def size(self) -> int:
        """How many neurons there are."""
        return self.synapses.sites * self.synapses.channels


def new_state(layer: Layer) -> State:
    """At the start."""
    sites, channels, depth = layer.synapses.sites, layer.synapses.channels, layer.synapses.depth
    shape, words = (sites, padded(channels)), (sites + 63) // 64
    model, none = layer.neurons.model, (0, padded(channels))
    heard = layer.size if layer.loop >= 0 else 0
    state = State(
        np.zeros(shape, np.float32), np.zeros(shape if model == "cuba" else none, np.float32),
        np.zeros(shape if model == "alif" else none, np.float32), np.zeros((depth, *shape), np.float32),
        np.zeros((depth, words), np.uint64), np.zeros(words, np.uint64), np.zeros(sites, np.int64),
        np.zeros(1, np.int64), np.zeros(heard, np.int32), np.zeros(heard, np.float32), np.zeros(1, np.int64),
        np.zeros(5, np.int64),
    )  # fmt: skip
    forget(layer, state)
    return state


def forget(layer: Layer, state: State) -> None:
    """Back to the start, but for the counts."""
    for array in state[:-1]:
        array[:] = 0
    state.v[:, : layer.synapses.channels] = layer.start


def advance(layer: Layer, state: State, arriving: Spikes, lazy: bool | None = None) -> Spikes:
    """Go through the steps of ``arriving``.

    Args:
        layer: what it is.
        state: what it remembers, changed.
        arriving: spikes of its sources, numbered one source after the other.
        lazy: update only sites where something happens; default: wherever that is possible.

    Returns:
        What the layer sends in the same steps.
    """
    neurons_, synapses, steps = layer.neurons, layer.synapses, arriving.steps
    may_rest = neurons_.may_rest
    rests = may_rest if lazy is None else lazy and may_rest
    offsets, room = np.zeros(steps + 1, np.int64), layer.size * min(steps, 4)
    index, value = np.empty(room, np.int32), np.empty(room, np.float32)
    done = 0
    while True:
        done = _advance(
            arriving.offsets, arriving.index, arriving.value, synapses.geometry, synapses.table,
            synapses.reach, synapses.delay, synapses.width, _MODELS.index(neurons_.model),
            _RESETS.index(neurons_.reset), neurons_.non_strict, neurons_.many, neurons_.sends_potential, rests,
            neurons_.channels, neurons_.coefficient, *state, layer.loop, done, offsets, index, value,
        )  # fmt: skip
        if done == steps:
            break
        index, value = np.concatenate([index, index]), np.concatenate([value, value])
    return Spikes(offsets, index[: offsets[-1]], value[: offsets[-1]])


@kernel
def _advance(
    offsets: I64, index: I32, value: F32, geometry: I64, table: F32, reach: I32, delay: I16, width: int,
    model: int, reset: int, non_strict: bool, many: bool, sends_potential: bool, lazy: bool, channels: int,
    coefficient: F32, v: F32, i: F32, a: F32, x: F32, touched: U64, awake: U64, stamp: I64, clock: I64,
    before: I32, before_value: F32, before_count: I64, counts: I64, loop: int, done: int, out_offsets: I64,
    out: I32, out_value: F32,
) -> int:  # fmt: skip
    n = out_offsets[done]
    passed = np.empty((v.shape[0], 2), np.int64)
    for k in range(done, offsets.size - 1):
        if out.size - n < v.shape[0] * channels:
            return k
        now = clock[0]
        slot = now % x.shape[0]
        counts[EVENTS] += offsets[k + 1] - offsets[k]
        for own in range(2 if loop >= 0 else 1):
            # What arrives, and behind it what the layer itself sent one step before.
            numbers, values, shift = (before, before_value, loop) if own else (index, value, 0)
            start, stop = (0, before_count[0]) if own else (offsets[k], offsets[k + 1])
            if delay.size:
                scatter_delayed(
                    numbers,
                    values,
                    start,
                    stop,
                    shift,
                    geometry,
                    table,
                    reach,
                    delay,
                    width,
                    now,
                    x,
                    touched,
                    counts,
                )
            else:
                scatter(
                    numbers, values, start, stop, shift, geometry, table, reach, width, x.shape[2], lazy,
                    x.reshape(-1), touched[0], counts[ADDITIONS : ADDITIONS + 1],
                )  # fmt: skip
        n = _update(
            model, reset, non_strict, many, sends_potential, lazy, channels, coefficient, v, i, a, x[slot],
            touched[slot], awake, stamp, now, counts, passed, n, out, out_value,
        )  # fmt: skip
        if loop >= 0:
            before_count[0] = n - out_offsets[k]
            before[: before_count[0]] = out[out_offsets[k] : n]
            before_value[: before_count[0]] = out_value[out_offsets[k] : n]
        clock[0] = now + 1
        counts[STEPS] += 1
        out_offsets[k + 1] = n
    return offsets.size - 1


@kernel
def _update(
    model: int, reset: int, non_strict: bool, many: bool, sends_potential: bool, lazy: bool, channels: int,
    coefficient: F32, v: F32, i: F32, a: F32, x: F32, touched: U64, awake: U64, stamp: I64, now: int, counts: I64,
    passed: I64, n: int, out: I32, out_value: F32,
) -> int:  # fmt: skip
    sites, lanes, before, updated = v.shape[0], v.shape[1], n, 0
    values, potentials, arrived = coefficient.reshape(-1), v.reshape(-1), x.reshape(-1)
    currents, adapted = i.reshape(-1), a.reshape(-1)
    stride, per_site = coefficient.shape[1] * lanes, lanes if coefficient.shape[1] > 1 else 0
    rows = (_DECAY, _GAIN, _CONSTANT, _LEVEL, _RESET, _FLOOR)
    late = 0
    if reset >= _DELAYED_HARD:
        late = 1 if reset in (_DELAYED_SUBTRACT, _RESIDUAL) else 2 if reset == _DELAYED_CLEAR else 3
    above = np.zeros(channels if reset == _RESIDUAL else 0, np.bool_)
    n_passed = 0
    # Calls that take arrays cost more than the arithmetic of a site: what each site needs stands here.
    for word in range(touched.size):
        last = min(sites - word * 64, 64)
        todo = touched[word] | awake[word] if lazy else ~np.uint64(0) >> np.uint64(64 - last)
        touched[word] = np.uint64(0)
        still_awake = np.uint64(0)
        while todo != np.uint64(0):
            bit = trailing_zeros(todo)
            todo &= todo - np.uint64(1)
            site = word * 64 + bit
            at, of = site * lanes, site * per_site
            missed = now - stamp[site]
            stamp[site] = now + 1
            updated += channels
            if missed > 0 and model >= _LIF:
                if model == _CUBA:
                    _catch_up_cuba(values, of, stride, potentials, currents, at, lanes, missed)
                else:
                    # One by one, 64 at a time: a power would round otherwise than its products.
                    while missed > 0 and (
                        any_nonzero(potentials, at, lanes) != 0
                        or (model == _ALIF and any_nonzero(adapted, at, lanes) != 0)
                    ):
                        rounds = min(missed, 64)
                        missed -= rounds
                        multiply(potentials, at, values, of + _DECAY * stride, rounds, lanes)
                        if model == _ALIF:
                            multiply(adapted, at, values, of + _RHO * stride, rounds, lanes)
            if model == _CUBA:
                charge_synapse(
                    currents, arrived, at, values, of, stride, (_SYN_DECAY, _SYN_GAIN, _BIAS), lanes
                )
            elif model == _ALIF:
                multiply(adapted, at, values, of + _RHO * stride, 1, lanes)
            if reset == _RESIDUAL:
                for c in range(channels):
                    level, u = values[of + _LEVEL * stride + c], potentials[at + c]
                    above[c] = u > level or (u == level and non_strict)
            passing = charge_lif(
                potentials, arrived, at, values, of, stride, rows, late, 0 if non_strict else 1, lanes
            )
            if sends_potential or model == _LINEAR:
                for c in range(channels):
                    if potentials[at + c] != 0:
                        out[n] = site * channels + c
                        out_value[n] = potentials[at + c]
                        n += 1
            elif reset == _RESIDUAL:
                n, still = _fire_residual(
                    non_strict, channels, values, of, stride, potentials, at, site, above, n, out, out_value
                )
                passing = 1 if still else passing
            elif passing != 0:
                passed[n_passed, 0], passed[n_passed, 1] = site, passing
                n_passed += 1
            if lazy and model >= _LIF:
                might = passing != 0
                if model == _CUBA:
                    for c in range(channels):
                        ahead = max(currents[at + c], np.float32(0)) * values[of + _AHEAD * stride + c]
                        most = max(potentials[at + c], np.float32(0)) + ahead
                        might |= most >= values[of + _LEVEL * stride + c]
                if might:
                    still_awake |= np.uint64(1) << np.uint64(bit)
        awake[word] = still_awake
    if n_passed:
        n = _fire(
            model, reset, non_strict, many, channels, values, stride, per_site, potentials, adapted, lanes,
            passed[:n_passed], n, out, out_value,
        )  # fmt: skip
    counts[UPDATES] += updated
    counts[SPIKES] += n - before
    return n


@kernel
def _fire_residual(
    non_strict: bool, channels: int, values: F32, of: int, stride: int, v: F32, at: int, site: int, above: P, n: int,
    out: I32, out_value: F32,
) -> tuple[int, bool]:  # fmt: skip
    """Send the spikes of one site and leave the residual; whether any channel is above its level still."""
    still = False
    for c in range(channels):
        level, u = values[of + _LEVEL * stride + c], v[at + c]
        after = values[of + _RESET * stride + c]
        fires = u > level or (u == level and non_strict)
        if fires:
            out[n], out_value[n] = site * channels + c, np.float32(1)
            n += 1
        if fires and not above[c]:
            v[at + c] = u - after
        elif above[c] and not fires:
            v[at + c] = u + after
        still |= v[at + c] >= level
    return n, still


@kernel
def _catch_up_cuba(
    values: F32, of: int, stride: int, v: F32, i: F32, at: int, lanes: int, missed: int
) -> None:
    """The steps of a site in which nothing arrived, one by one."""
    while missed > 0 and (any_nonzero(v, at, lanes) != 0 or any_nonzero(i, at, lanes) != 0):
        rounds = min(missed, 64)
        missed -= rounds
        for c in range(lanes):
            decay, gain, floor = (
                values[of + _DECAY * stride + c], values[of + _GAIN * stride + c], values[of + _FLOOR * stride + c]
            )  # fmt: skip
            kept = values[of + _SYN_DECAY * stride + c]
            current, potential = i[at + c], v[at + c]
            for _ in range(rounds):
                current = kept * current
                potential = max(decay * potential + gain * current, floor)
            i[at + c], v[at + c] = current, potential


@kernel
def _fire(
    model: int, reset: int, non_strict: bool, many: bool, channels: int, values: F32, stride: int, per_site: int,
    v: F32, a: F32, lanes: int, passed: I64, n: int, out: I32, out_value: F32,
) -> int:  # fmt: skip
    """Send the spikes of sites (site, bits), and reset what sent one; bit c is of channels c, c + 64 ..."""
    for j in range(passed.shape[0]):
        site, bits = passed[j, 0], np.uint64(passed[j, 1])
        at, of = site * lanes, site * per_site
        for base in range(0, channels, 64):
            todo = bits
            while todo != np.uint64(0):
                c = base + trailing_zeros(todo)
                todo &= todo - np.uint64(1)
                if c >= channels:
                    break
                level, u = values[of + _LEVEL * stride + c], v[at + c]
                if model == _ALIF:
                    level += a[at + c]
                if u < level or (u == level and not non_strict):
                    continue
                number = np.float32(np.floor(u / level)) if many else np.float32(1)
                out[n] = site * channels + c
                out_value[n] = number
                n += 1
                after = values[of + _RESET * stride + c]
                if model == _ALIF:
                    a[at + c] += values[of + _STEP * stride + c]
                if reset == _HARD:
                    v[at + c] = after
                elif reset == _SUBTRACT:
                    v[at + c] = max(u - number * after, values[of + _FLOOR * stride + c])
    return n
