"""Layers that compute only what changed: quantise, send the difference, accumulate.

A layer's output is O = q level, level = floor(m Z + 1/2) between a lowest and a highest, where Z is the
integer sum of bias and weights times the levels that arrived, and m = weight step x input step / q. What
travels is level(t) - level(t - 1), and the receiver adds W dlevel to its Z. As levels are whole numbers before
they are differenced, Z is exactly what a dense evaluation of the quantised network gives: sums of integers below
2^24, held as float32, have no order. Yousefzadeh & Sifalakis, "Training for temporal sparsity in deep
neural networks, application in video processing", 2021.

With a threshold, smaller changes wait: either a change is sent whole once the distance to what was last
sent reaches the threshold, or (``carry``) in whole thresholds and the remainder stays; in both, what was
sent differs from the level by less than the threshold, however slowly it moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel, trailing_zeros
from kernels._lanes import padded, requantise
from kernels.columns import F32, I64, U64
from kernels.networks.synapses import I32, Shape, Spikes, Synapses, scatter

ARRIVED, ADDITIONS, UPDATES, SENT = range(4)
"""What :attr:`State.counts` counts: changes that arrived, weights added, neurons looked at, changes that left."""

EXACT_BELOW = 2**24
"""Sums of integers held as float32 are exact below this."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of weights; read-only.

    Attributes:
        synapses: weights, whole numbers.
        bias: [lane] whole numbers.
        multiplier: [lane] m.
        low: the lowest level: 0 behind a ReLU.
        top: the highest level.
        threshold: changes of fewer levels wait; 1: none does.
        carry: a change is sent in whole thresholds.
    """

    synapses: Synapses
    bias: F32
    multiplier: F32
    low: float
    top: float
    threshold: int = 1
    carry: bool = False

    @property
    def size(self) -> int:
        """How many neurons there are."""
        return self.synapses.sites * self.synapses.channels


class State(NamedTuple):
    """What a layer remembers; its kernel changes it in place.

    Attributes:
        z: [site, lane] the sums.
        sent: [site, lane] levels, as receivers know them.
        touched: [words] sites whose sums changed, as bits.
        counts: [4] int64, :data:`ARRIVED` ... :data:`SENT`.
    """

    z: F32
    sent: F32
    touched: U64
    counts: I64


def largest_sum(synapses: Synapses, bias: F32, top: float) -> float:
    """The largest magnitude that a sum can have where levels are at most ``top``."""
    lanes = padded(synapses.channels)
    weights = np.abs(synapses.table).reshape(-1, lanes)[:, : synapses.channels].sum(axis=0, dtype=np.float64)
    return float((weights * top + np.abs(bias[: synapses.channels])).max(initial=0.0))


def new_state(layer: Layer) -> State:
    """Before anything arrived; the first step sends what the biases alone make of it."""
    sites, lanes = layer.synapses.sites, padded(layer.synapses.channels)
    state = State(
        np.empty((sites, lanes), np.float32), np.empty((sites, lanes), np.float32),
        np.empty((sites + 63) // 64, np.uint64), np.zeros(4, np.int64),
    )  # fmt: skip
    forget(layer, state)
    return state


def forget(layer: Layer, state: State) -> None:
    """Back to the start, but for the counts."""
    state.z[:] = layer.bias
    state.sent[:] = 0
    state.touched[:] = ~np.uint64(0)
    rest = layer.synapses.sites % 64
    if rest:
        state.touched[-1] = ~np.uint64(0) >> np.uint64(64 - rest)


def advance(layer: Layer, state: State, arriving: Spikes) -> Spikes:
    """Go through steps of changes; returns the changes that the layer sends in the same steps."""
    steps, synapses = arriving.steps, layer.synapses
    offsets, room = np.zeros(steps + 1, np.int64), layer.size * min(steps, 2)
    index, value = np.empty(room, np.int32), np.empty(room, np.float32)
    done = 0
    while True:
        done = _advance(
            arriving.offsets, arriving.index, arriving.value, synapses.geometry, synapses.table, synapses.reach,
            synapses.width, synapses.channels, layer.multiplier, np.float32(layer.low), np.float32(layer.top),
            np.float32(layer.threshold), layer.carry, state.z, state.sent, state.touched, state.counts, done,
            offsets, index, value,
        )  # fmt: skip
        if done == steps:
            return Spikes(offsets, index[: offsets[-1]], value[: offsets[-1]])
        index, value = np.concatenate([index, index]), np.concatenate([value, value])


def accumulate(layer: Layer, state: State, arriving: Spikes) -> None:
    """Take in one step's changes without sending any: what the last layer does, whose sums are the answer."""
    counts = state.counts[ADDITIONS : ADDITIONS + 1]
    synapses = layer.synapses
    state.counts[ARRIVED] += len(arriving.index)
    scatter(
        arriving.index, arriving.value, 0, len(arriving.index), 0, synapses.geometry, synapses.table,
        synapses.reach, synapses.width, state.z.shape[1], False, state.z.reshape(-1), state.touched, counts,
    )  # fmt: skip


def keyframe(layer: Layer, state: State) -> Spikes:
    """All that the layer ever sent, as one step: what brings a receiver that joins late up to date."""
    levels = state.sent[:, : layer.synapses.channels].reshape(-1)
    index = np.flatnonzero(levels)
    return Spikes(np.array([0, len(index)], np.int64), index.astype(np.int32), levels[index])


@dataclass(frozen=True, eq=False)
class MaxPool:
    """The highest level of each window, channel by channel; read-only.

    Attributes:
        source: the grid that is read.
        target: the grid of the windows.
        size: (y, x) of a window; so are ``stride`` and ``pad``.
        stride: see above.
        pad: see above.
    """

    source: Shape
    target: Shape
    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int] = (0, 0)


class PoolState(NamedTuple):
    """What a pooling layer remembers: the levels that it reads, those that it sent, windows to look at again."""

    levels: F32
    sent: F32
    touched: U64
    counts: I64


def new_pool_state(pool: MaxPool) -> PoolState:
    """Before anything arrived."""
    return PoolState(
        np.zeros(pool.source.size, np.float32), np.zeros(pool.target.size, np.float32),
        np.zeros((pool.target.sites + 63) // 64, np.uint64), np.zeros(4, np.int64),
    )  # fmt: skip


def advance_pool(pool: MaxPool, state: PoolState, arriving: Spikes) -> Spikes:
    """As :func:`advance`, of the highest level in each window; beyond the border there is nothing."""
    steps = arriving.steps
    offsets = np.zeros(steps + 1, np.int64)
    parts: list[tuple[I32, F32]] = []
    for step in range(steps):
        a, b = arriving.offsets[step], arriving.offsets[step + 1]
        index, value = np.empty(pool.target.size, np.int32), np.empty(pool.target.size, np.float32)
        n = _pool(
            arriving.index[a:b], arriving.value[a:b], pool.source.height, pool.source.width, pool.source.channels,
            pool.target.height, pool.target.width, *pool.size, *pool.stride, *pool.pad, *state, index, value,
        )  # fmt: skip
        parts.append((index[:n], value[:n]))
        offsets[step + 1] = offsets[step] + n
    return Spikes(
        offsets, np.concatenate([np.empty(0, np.int32), *(index for index, _ in parts)]),
        np.concatenate([np.empty(0, np.float32), *(value for _, value in parts)]),
    )  # fmt: skip


def changes(levels: F32, before: F32) -> Spikes:
    """What turns levels [neuron] into others, as one step."""
    difference = levels - before
    index = np.flatnonzero(difference)
    return Spikes(np.array([0, len(index)], np.int64), index.astype(np.int32), difference[index])


@kernel
def _advance(
    offsets: I64, index: I32, value: F32, geometry: I64, table: F32, reach: I32, width: int, channels: int,
    multiplier: F32, low: float, top: float, threshold: float, carry: bool, z: F32, sent: F32, touched: U64,
    counts: I64, done: int, out_offsets: I64, out: I32, out_value: F32,
) -> int:  # fmt: skip
    sites, lanes = z.shape
    sums, levels, change = z.reshape(-1), sent.reshape(-1), np.empty(lanes, np.float32)
    n = out_offsets[done]
    for k in range(done, offsets.size - 1):
        if out.size - n < sites * channels:
            return k
        counts[0] += offsets[k + 1] - offsets[k]
        scatter(
            index, value, offsets[k], offsets[k + 1], 0, geometry, table, reach, width, lanes, True, sums,
            touched, counts[1:2],
        )  # fmt: skip
        for word in range(touched.size):
            todo = touched[word]
            touched[word] = np.uint64(0)
            while todo != np.uint64(0):
                site = word * 64 + trailing_zeros(todo)
                todo &= todo - np.uint64(1)
                counts[2] += channels
                changed = requantise(
                    sums, levels, site * lanes, multiplier, low, top, threshold, carry, change, lanes
                )
                for base in range(0, channels if changed != 0 else 0, 64):
                    bits = np.uint64(changed)
                    while bits != np.uint64(0):
                        c = base + trailing_zeros(bits)
                        bits &= bits - np.uint64(1)
                        if c >= channels:
                            break
                        if change[c] != 0:
                            out[n] = site * channels + c
                            out_value[n] = change[c]
                            n += 1
        counts[3] += n - out_offsets[k]
        out_offsets[k + 1] = n
    return offsets.size - 1


@kernel
def _pool(
    index: I32, value: F32, height: int, width: int, channels: int, out_height: int, out_width: int, size_y: int,
    size_x: int, stride_y: int, stride_x: int, pad_y: int, pad_x: int, levels: F32, sent: F32, touched: U64,
    counts: I64, out: I32, out_value: F32,
) -> int:  # fmt: skip
    counts[0] += index.size
    for e in range(index.size):
        levels[index[e]] += value[e]
        pixel = index[e] // channels
        y, x = pixel // width + pad_y, pixel % width + pad_x
        for oy in range(max((y - size_y) // stride_y + 1, 0), min(y // stride_y + 1, out_height)):
            for ox in range(max((x - size_x) // stride_x + 1, 0), min(x // stride_x + 1, out_width)):
                site = oy * out_width + ox
                touched[site >> 6] |= np.uint64(1) << np.uint64(site & 63)
    n = 0
    for word in range(touched.size):
        todo = touched[word]
        touched[word] = np.uint64(0)
        while todo != np.uint64(0):
            site = word * 64 + trailing_zeros(todo)
            todo &= todo - np.uint64(1)
            top, left = site // out_width * stride_y - pad_y, site % out_width * stride_x - pad_x
            counts[2] += channels
            for c in range(channels):
                highest = np.float32(-np.inf)
                for y in range(max(top, 0), min(top + size_y, height)):
                    for x in range(max(left, 0), min(left + size_x, width)):
                        highest = max(highest, levels[(y * width + x) * channels + c])
                at = site * channels + c
                if highest != sent[at]:
                    out[n] = at
                    out_value[n] = highest - sent[at]
                    sent[at] = highest
                    n += 1
    counts[3] += n
    return n
