"""From events to what arrives at a network in each of its steps.

A step is a span of time, [k w, (k + 1) w) on a fixed grid, or a number of events. What arrives at input
(y, x, polarity) is the number of events there, at most so many; 1 is presence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, I64, U64, XY, P, T
from kernels.networks.synapses import I32, Spikes

NO_STEP = -(2**62)
"""The step of an encoder that has seen nothing yet."""
_STEP, _EVENTS = range(2)


class Encoder(NamedTuple):
    """The step that is still open; the kernel changes it in place.

    Attributes:
        counts: [input] events in it.
        touched: [words] inputs that hold any, as bits.
        open: which step it is, or ``NO_STEP``, and how many events it holds.
    """

    counts: I32
    touched: U64
    open: I64


class Encoded(NamedTuple):
    """Steps that are complete.

    Attributes:
        spikes: what arrives in them.
        end: [step] the end of each: of its span, or its last event, us.
        events: [step] how many events each held.
    """

    spikes: Spikes
    end: I64
    events: I64


def new_encoder(inputs: int) -> Encoder:
    """Nothing seen yet."""
    return Encoder(
        np.zeros(inputs, np.int32), np.zeros((inputs + 63) // 64, np.uint64), np.array([NO_STEP, 0], np.int64)
    )


def forget(encoder: Encoder) -> None:
    """Back to the start."""
    encoder.counts[:] = 0
    encoder.touched[:] = 0
    encoder.open[:] = NO_STEP, 0


def by_time(
    t: T, x: XY, y: XY, p: P, encoder: Encoder, width: int, polarities: int, most: int, step_us: int, until_step: int
) -> Encoded:  # fmt: skip
    """Steps of ``step_us`` that end before ``until_step``; the first is that of the first event.

    Args:
        t: times [n], us, never falling; so are the columns ``x``, ``y``, ``p`` of the events.
        x: see above.
        y: see above.
        p: see above.
        encoder: the open step, changed.
        width: of the sensor.
        polarities: 2: OFF and ON apart; 1: together.
        most: counts above this are taken for this.
        step_us: length of a step.
        until_step: steps before this one are complete; no later event belongs to one.
    """
    first = int(encoder.open[_STEP])
    if first == NO_STEP:
        if len(t) == 0:
            return _none()
        first = int(t[0]) // step_us
        encoder.open[_STEP] = first
    steps = max(until_step - first, 0)
    offsets, end, events = (np.zeros(steps + extra, np.int64) for extra in (1, 0, 0))
    end[:] = (np.arange(first, first + steps) + 1) * step_us
    index, value = _room(len(t), encoder)
    n = _by_time(
        t, x, y, p, *encoder, width, polarities, most, step_us, until_step, offsets, events, index, value
    )
    return Encoded(Spikes(offsets, index[:n], value[:n]), end, events)


def by_count(
    t: T, x: XY, y: XY, p: P, encoder: Encoder, width: int, polarities: int, most: int, step_events: int
) -> Encoded:  # fmt: skip
    """Steps of so many events; the arguments are those of :func:`by_time`."""
    steps = (int(encoder.open[_EVENTS]) + len(t)) // step_events
    offsets, end, events = (np.zeros(steps + extra, np.int64) for extra in (1, 0, 0))
    events[:] = step_events
    index, value = _room(len(t), encoder)
    n = _by_count(t, x, y, p, *encoder, width, polarities, most, step_events, offsets, end, index, value)
    encoder.open[_STEP] = 0 if len(t) or encoder.open[_STEP] != NO_STEP else NO_STEP
    return Encoded(Spikes(offsets, index[:n], value[:n]), end, events)


def close(encoder: Encoder, most: int) -> Spikes:
    """The open step as it is; empty again afterwards."""
    index, value = _room(0, encoder)
    n = _emit(encoder.counts, encoder.touched, most, 0, index, value)
    encoder.open[_EVENTS] = 0
    return Spikes(np.array([0, n], np.int64), index[:n], value[:n])


def _none() -> Encoded:
    nothing = np.empty(0, np.int64)
    return Encoded(
        Spikes(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)), nothing, nothing
    )


def _room(events: int, encoder: Encoder) -> tuple[I32, F32]:
    room = events + int(np.bitwise_count(encoder.touched).sum())
    return np.empty(room, np.int32), np.empty(room, np.float32)


@kernel
def _by_time(
    t: T, x: XY, y: XY, p: P, counts: I32, touched: U64, opened: I64, width: int, polarities: int, most: int,
    step_us: int, until: int, offsets: I64, events: I64, index: I32, value: F32,
) -> int:  # fmt: skip
    n, step, first = 0, opened[0], opened[0]
    for i in range(t.size + 1):
        now = t[i] // step_us if i < t.size else until
        while step < min(now, until):
            n = _emit(counts, touched, most, n, index, value)
            offsets[step - first + 1] = n
            events[step - first] = opened[1]
            opened[1] = 0
            step += 1
        if i < t.size:
            _count_event(x[i], y[i], p[i], width, polarities, counts, touched)
            opened[1] += 1
    opened[0] = step
    return n


@kernel
def _by_count(
    t: T, x: XY, y: XY, p: P, counts: I32, touched: U64, opened: I64, width: int, polarities: int, most: int,
    step_events: int, offsets: I64, end: I64, index: I32, value: F32,
) -> int:  # fmt: skip
    n, step = 0, 0
    for i in range(t.size):
        _count_event(x[i], y[i], p[i], width, polarities, counts, touched)
        opened[1] += 1
        if opened[1] == step_events:
            n = _emit(counts, touched, most, n, index, value)
            opened[1] = 0
            end[step] = t[i]
            step += 1
            offsets[step] = n
    return n


@kernel
def _count_event(x: int, y: int, p: bool, width: int, polarities: int, counts: I32, touched: U64) -> None:
    at = (np.int64(y) * width + np.int64(x)) * polarities
    if polarities == 2:
        at += np.int64(p)
    counts[at] += 1
    touched[at >> 6] |= np.uint64(1) << np.uint64(at & 63)


@kernel
def _emit(counts: I32, touched: U64, most: int, n: int, index: I32, value: F32) -> int:
    """The inputs that hold events, in ascending order."""
    for word in range(touched.size):
        bits = touched[word]
        touched[word] = np.uint64(0)
        while bits != np.uint64(0):
            at = word * 64 + trailing_zeros(bits)
            bits &= bits - np.uint64(1)
            index[n] = at
            value[n] = min(counts[at], most)
            counts[at] = 0
            n += 1
    return n
