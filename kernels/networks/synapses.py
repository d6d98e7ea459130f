"""Weighted connections onto a layer of neurons, laid out so that one spike is a few rows of additions.

A layer lies on sites (y, x) with C channels each, stored channels last: neuron (y, x, c) has the index
(y W + x) C + c. A spike of value s at input (iy, ix, k) adds, for each tap (ky, kx) that reaches a site,

    x[oy, ox, :] += s * table[tap, k, :]      oy * stride + ky * dilation - pad = iy, likewise ox,

which is correlation, as every framework's "convolution". A dense connection is the same with one site and
one tap; pooling and one-to-one are the same with as many groups as channels. Connections from several
sources onto one layer share one table; their inputs are numbered one source after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels._lanes import add_scaled, padded, sum_scaled
from kernels.columns import F32, I64, U64

I32 = NDArray[np.int32]
I16 = NDArray[np.int16]
_N = TypeVar("_N", np.float32, np.int16)
Pair = tuple[int, int]

FIRST, WIDTH_IN, CHANNELS_IN, TAPS_Y, TAPS_X, GROUPS, ROW, REACH_Y, REACH_X, CHANNELS_OUT, LOCAL = range(11)
"""Columns of a connection's geometry: REACH and ROW say where its part of the shared arrays begins,
CHANNELS_OUT how many channels one input channel leads to, LOCAL whether each input has a weight of its own."""


class Shape(NamedTuple):
    """A layer's grid."""

    height: int
    width: int
    channels: int

    @property
    def sites(self) -> int:
        """How many (y, x) there are."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """How many neurons there are."""
        return self.sites * self.channels


class Spikes(NamedTuple):
    """What neurons sent in some steps.

    Attributes:
        offsets: [steps + 1] int64: those of step k are [offsets[k], offsets[k + 1]).
        index: int32, which neuron; ascending in each step.
        value: float32, 1 for a plain spike.
    """

    offsets: I64
    index: I32  # pyright: ignore[reportIncompatibleMethodOverride]
    value: F32

    @property
    def steps(self) -> int:
        """How many steps."""
        return len(self.offsets) - 1


@dataclass(frozen=True, eq=False)
class Connection:
    """One source's weights.

    Attributes:
        source: the grid that its spikes come from.
        weight: [tap_y, tap_x, channel in, channel out / groups] float32.
        stride: (y, x); so are ``pad`` and ``dilation``.
        pad: see above.
        dilation: see above.
        groups: input and output channels fall into so many groups that do not see each other.
        delay: like ``weight``, in steps, or None where nothing is delayed.
        local: one to one, with a weight for each input: [1, 1, input, 1].
    """

    source: Shape
    weight: F32
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    delay: I16 | None = None
    local: bool = False

    def reach(self, target: Shape) -> tuple[I32, I32]:
        """[input y, tap] and [input x, tap]: the site that a tap leads to, -1 where there is none."""
        sides: list[I32] = []
        for axis, (size_in, size_out) in enumerate(
            ((self.source.height, target.height), (self.source.width, target.width))
        ):
            at = np.arange(size_in)[:, None] + self.pad[axis]
            at = at - np.arange(self.weight.shape[axis])[None] * self.dilation[axis]
            out, rest = np.divmod(at, self.stride[axis])
            sides.append(np.where((rest == 0) & (out >= 0) & (out < size_out), out, -1).astype(np.int32))
        return sides[0], sides[1]


def dense(weight: F32, source: Shape | None = None, delay: I16 | None = None) -> Connection:
    """A connection from all to all.

    Args:
        weight: [out, in], inputs in the order (channel, y, x) where they lie on a grid.
        source: that grid; default: inputs without one.
        delay: like ``weight``, steps.
    """
    outputs, inputs = weight.shape
    grid = source or Shape(1, 1, inputs)

    def laid(array: NDArray[np.generic]) -> NDArray[np.generic]:
        on_grid = array.reshape(outputs, grid.channels, grid.height, grid.width)
        return np.ascontiguousarray(on_grid.transpose(2, 3, 1, 0).reshape(1, 1, inputs, outputs))

    return Connection(
        Shape(1, 1, inputs), laid(weight).astype(np.float32),
        delay=None if delay is None else laid(delay).astype(np.int16),
    )  # fmt: skip


def convolution(
    weight: F32, source: Shape, stride: Pair = (1, 1), pad: Pair = (0, 0), dilation: Pair = (1, 1), groups: int = 1
) -> Connection:  # fmt: skip
    """A 2-D convolution.

    Args:
        weight: [out, in / groups, ky, kx].
        source: the grid of its inputs.
        stride: (y, x); so are ``pad`` and ``dilation``.
        pad: see above.
        dilation: see above.
        groups: how many groups of channels.
    """
    out, inner, height, width = weight.shape
    of_group = weight.reshape(groups, out // groups, inner, height, width)
    laid = of_group.transpose(3, 4, 0, 2, 1).reshape(height, width, groups * inner, out // groups)
    return Connection(source, np.ascontiguousarray(laid, np.float32), stride, pad, dilation, groups)


def pooling(source: Shape, size: Pair, stride: Pair, pad: Pair = (0, 0), average: bool = False) -> Connection:
    """The sum (or the mean) of a window, channel by channel."""
    value = 1.0 / (size[0] * size[1]) if average else 1.0
    weight = np.full((*size, source.channels, 1), value, np.float32)
    return Connection(source, weight, stride, pad, groups=source.channels)


def one_to_one(source: Shape, weight: F32 | None = None, delay: I16 | None = None) -> Connection:
    """Each neuron to its like.

    Args:
        source: the grid of both.
        weight: [site, channel]; default 1.
        delay: likewise, steps; default 0.
    """
    if weight is None and delay is None:
        return Connection(source, np.ones((1, 1, source.channels, 1), np.float32), groups=source.channels)
    own = np.ones(source.size, np.float32) if weight is None else weight
    late = None if delay is None else np.ascontiguousarray(delay, np.int16).reshape(1, 1, -1, 1)
    laid = np.ascontiguousarray(own, np.float32).reshape(1, 1, -1, 1)
    return Connection(source, laid, groups=source.channels, delay=late, local=True)


class Synapses(NamedTuple):
    """Connections onto one layer, as its kernel reads them.

    Attributes:
        geometry: [connection + 1, 11] int64; the last row says where inputs end.
        table: all weights, float32.
        reach: all reach tables, int32.
        delay: all delays, int16; empty where nothing is delayed.
        depth: one more than the longest delay.
        sites: of the layer; so is ``channels``.
        channels: see above.
    """

    geometry: I64
    table: F32
    reach: I32
    delay: I16
    depth: int
    width: int
    sites: int
    channels: int

    @property
    def inputs(self) -> int:
        """How many inputs all sources have together."""
        return int(self.geometry[-1, FIRST])


def synapses(connections: list[Connection], target: Shape) -> Synapses:
    """The connections onto ``target``, laid out for the kernel.

    Raises:
        ValueError: channels do not fit.
    """
    geometry = np.zeros((len(connections) + 1, 11), np.int64)
    tables, reaches, delays = [np.empty(0, np.float32)], [np.empty(0, np.int32)], [np.empty(0, np.int16)]
    first = row = reach = 0
    delayed = any(one.delay is not None for one in connections)
    for i, one in enumerate(connections):
        taps_y, taps_x, inner, outer = one.weight.shape
        if one.local:
            inner //= one.source.sites
        if inner != one.source.channels or outer * one.groups != target.channels:
            raise ValueError(f"weights of {inner} to {outer} x {one.groups} channels do not lead from "
                             f"{one.source.channels} to {target.channels}")  # fmt: skip
        ys, xs = one.reach(target)
        geometry[i] = (
            first,
            one.source.width,
            inner,
            taps_y,
            taps_x,
            one.groups,
            row,
            reach,
            reach + ys.size,
            outer,
            one.local,
        )
        tables.append(_rows(one.weight, one.groups))
        reaches += [ys.ravel(), xs.ravel()]
        if delayed:
            none = np.zeros(one.weight.shape, np.int16)
            delays.append(_rows(none if one.delay is None else one.delay, one.groups))
        first, row, reach = first + one.source.size, row + tables[-1].size, reach + ys.size + xs.size
    geometry[-1, FIRST] = first
    delay = np.concatenate(delays)
    return Synapses(
        geometry, np.concatenate(tables), np.concatenate(reaches), delay, int(delay.max(initial=0)) + 1,
        target.width, target.sites, target.channels,
    )  # fmt: skip


def _rows(weight: NDArray[_N], groups: int) -> NDArray[_N]:
    """Weights row by row; where a spike reaches all channels, a row fills whole blocks of lanes."""
    if groups > 1:
        return weight.ravel()
    outer = weight.shape[3]
    return np.pad(weight.reshape(-1, outer), ((0, 0), (0, padded(outer) - outer))).ravel()


def merged(parts: list[tuple[int, Spikes]]) -> Spikes:
    """Spikes of several sources as one: each with its first number among the layer's inputs."""
    if len(parts) == 1 and parts[0][0] == 0:
        return parts[0][1]
    offsets = np.sum([spikes.offsets for _, spikes in parts], axis=0)
    index, value = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    room = offsets[:-1].copy()
    for first, spikes in parts:
        _merge(spikes.offsets, spikes.index, spikes.value, first, room, index, value)
    return Spikes(offsets, index, value)


@kernel
def _merge(offsets: I64, index: I32, value: F32, first: int, room: I64, out: I32, out_value: F32) -> None:
    for step in range(offsets.size - 1):
        at = room[step]
        for i in range(offsets[step], offsets[step + 1]):
            out[at] = index[i] + first
            out_value[at] = value[i]
            at += 1
        room[step] = at


@kernel
def scatter(
    index: I32, value: F32, start: int, stop: int, shift: int, geometry: I64, table: F32, reach: I32, width: int,
    lanes: int, mark: bool, x: F32, touched: U64, counts: I64,
) -> None:  # fmt: skip
    """What each spike adds to each site that its taps reach.

    Spikes of one pixel follow each other, so a site's sums stay in registers over all of them; the order of
    additions is that of the spikes all the same.

    Args:
        index: spikes of all sources, ascending within a source; so is ``value``.
        value: see above.
        start: the first spike.
        stop: the one behind the last.
        shift: added to their numbers.
        geometry: of the connections; so are ``table`` and ``reach``.
        table: see above.
        reach: see above.
        width: of the layer; ``lanes`` of a site.
        lanes: see above.
        mark: whether to note the sites that were reached.
        x: [site * lanes], added to.
        touched: [words] a bit a site.
        counts: [1] additions of weights, added to.
    """
    one, end, additions = -1, 0, 0
    first = inner = outer = taps_y = taps_x = of_group = row_size = width_in = rows = ys_at = xs_at = (
        local
    ) = 0
    e = start
    while e < stop:
        at = np.int64(index[e]) + shift
        while at >= end:  # the next source: what does not change within it
            one += 1
            first, end = geometry[one, FIRST], geometry[one + 1, FIRST]
            inner, outer, width_in = (
                geometry[one, CHANNELS_IN],
                geometry[one, CHANNELS_OUT],
                geometry[one, WIDTH_IN],
            )
            taps_y, taps_x, rows = geometry[one, TAPS_Y], geometry[one, TAPS_X], geometry[one, ROW]
            of_group = inner // geometry[one, GROUPS]
            row_size = lanes if of_group == inner else outer
            ys_at, xs_at, local = geometry[one, REACH_Y], geometry[one, REACH_X], geometry[one, LOCAL]
        pixel = np.int64(np.uint32(at - first) // np.uint32(inner))
        base = first + pixel * inner
        last = e + 1
        if of_group == inner:
            while last < stop and index[last] + shift < base + inner:
                last += 1
        iy = np.int64(np.uint32(pixel) // np.uint32(width_in))
        ys, xs = ys_at + iy * taps_y, xs_at + (pixel - iy * width_in) * taps_x
        channel = at - base
        for ty in range(taps_y):
            oy = np.int64(reach[ys + ty])
            if oy < 0:
                continue
            for tx in range(taps_x):
                ox = np.int64(reach[xs + tx])
                if ox < 0:
                    continue
                site = oy * width + ox
                row = rows + (ty * taps_x + tx) * inner * row_size
                if last > e + 1:
                    sum_scaled(x, site * lanes, table, row, index, value, shift - base, e, last, lanes)
                elif of_group == inner:
                    add_scaled(x, site * lanes, table, row + channel * lanes, value[e], lanes)
                else:
                    row = rows + at - first if local else row + channel * outer
                    to = site * lanes + channel // of_group * outer
                    for c in range(outer):
                        x[to + c] += value[e] * table[row + c]
                additions += outer * (last - e)
                if mark:
                    touched[site >> 6] |= np.uint64(1) << np.uint64(site & 63)
        e = last
    counts[0] += additions


@kernel
def scatter_delayed(
    index: I32, value: F32, start: int, stop: int, shift: int, geometry: I64, table: F32, reach: I32, delay: I16,
    width: int, now: int, x: F32, touched: U64, counts: I64,
) -> None:  # fmt: skip
    """As :func:`scatter`, where each weight has a delay of its own."""
    one = 0
    for e in range(start, stop):
        at = np.int64(index[e]) + shift
        while at >= geometry[one + 1, FIRST]:
            one += 1
        at -= geometry[one, FIRST]
        inner, groups, outer = geometry[one, CHANNELS_IN], geometry[one, GROUPS], geometry[one, CHANNELS_OUT]
        taps_y, taps_x = geometry[one, TAPS_Y], geometry[one, TAPS_X]
        row_size = x.shape[2] if groups == 1 else outer
        pixel, channel = at // inner, at % inner
        iy, ix = pixel // geometry[one, WIDTH_IN], pixel % geometry[one, WIDTH_IN]
        to = channel // (inner // groups) * outer
        for ty in range(taps_y):
            oy = np.int64(reach[geometry[one, REACH_Y] + iy * taps_y + ty])
            for tx in range(taps_x):
                ox = np.int64(reach[geometry[one, REACH_X] + ix * taps_x + tx])
                if oy < 0 or ox < 0:
                    continue
                site = oy * width + ox
                row = at if geometry[one, LOCAL] else ((ty * taps_x + tx) * inner + channel) * row_size
                row += geometry[one, ROW]
                for c in range(outer):
                    slot = (now + np.int64(delay[row + c])) % x.shape[0]
                    x[slot, site, to + c] += value[e] * table[row + c]
                    touched[slot, site >> 6] |= np.uint64(1) << np.uint64(site & 63)
                counts[0] += outer
