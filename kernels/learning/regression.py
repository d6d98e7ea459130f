"""Multinomial logistic regression over sparse space-time neighbourhoods: what trains a motif bank.

The inputs of a voxel (bin, y, x) are the active taps of its past, as in :mod:`kernels.motifs.detection`; a tap's
index is (place D + d) 2 + p, where the place is dy W + dx. Only active taps are touched, forward and
backward. With contrast flip a class's logit is the larger of those of the events as they are and of the
events with ON and OFF swapped, and its gradient goes to the one that was larger.

Grimaldi & Perrinet, Biological Cybernetics 2023; Adam: Kingma & Ba, ICLR 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, I64, U64, XY, P, T

I32 = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Inputs:
    """Active taps of n voxels, one after the other.

    Attributes:
        index: tap indices, int32.
        offsets: [n + 1] int64: those of voxel i are index[offsets[i] : offsets[i + 1]].
    """

    index: I32
    offsets: I64

    def __len__(self) -> int:
        return len(self.offsets) - 1


def join(parts: list[Inputs]) -> Inputs:
    """Several voxels' inputs one after the other."""
    sizes = [np.diff(part.offsets) for part in parts]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes))])
    return Inputs(np.concatenate([part.index for part in parts]), offsets)


def recent_past(t: T, x: XY, y: XY, p: P, width: int, height: int, bins: int, bin_us: int) -> U64:
    """The past of every voxel: words [bins, height, width, polarity], bit d = an event d bins ago.

    Args:
        t: times [n], us, within [0, bins * bin_us).
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        width: of the sensor.
        height: of the sensor.
        bins: how many bins there are.
        bin_us: the width of a bin.
    """
    past = np.zeros((bins, height, width, 2), np.uint64)
    _mark(t, x, y, p, bin_us, past)
    for k in range(1, bins):
        past[k] |= past[k - 1] << np.uint64(1)
    return past


def gather(past: U64, voxels: I64, height: int, width: int, delays: int) -> Inputs:
    """Active taps of the voxels.

    Args:
        past: from :func:`recent_past`.
        voxels: (bin, y, x) [n, 3], at least half a kernel away from the border.
        height: of the kernel, odd.
        width: of the kernel, odd.
        delays: how many delays, at most 64.
    """
    offsets = np.zeros(len(voxels) + 1, np.int64)
    _count(past, voxels, height, width, delays, offsets)
    index = np.empty(offsets[-1], np.int32)
    _gather(past, voxels, height, width, delays, offsets, index)
    return Inputs(index, offsets)


def logits(inputs: Inputs, weight: F32, bias: F32, flip: bool) -> tuple[F32, Flags]:
    """bias + the sum of the active taps' weights [tap, class], per voxel: [n, class].

    Returns:
        The logits, and [n, class] whether they are those of swapped polarities (never without ``flip``).
    """
    shape = len(inputs), weight.shape[1]
    out, other = np.empty(shape, np.float32), np.empty(shape if flip else (0, 0), np.float32)
    _logits(inputs.index, inputs.offsets, weight, bias, out, other)
    if not flip:
        return out, np.zeros(shape, np.bool_)
    swapped = other > out
    return np.maximum(out, other), swapped


def gradient(inputs: Inputs, error: F32, swapped: Flags, out: F32) -> None:
    """Gradient [tap, class] of a loss whose gradient by the logits is ``error`` [n, class].

    Args:
        inputs: as for :func:`logits`.
        error: the loss's gradient by the logits.
        swapped: as :func:`logits` returned it.
        out: [tap, class], overwritten.
    """
    out[:] = 0
    straight = np.where(swapped, np.float32(0), error)
    crossed = np.where(swapped, error, np.float32(0)) if swapped.any() else np.empty((0, 0), np.float32)
    _gradient(inputs.index, inputs.offsets, straight, crossed, out)


def symmetrise(slope: F32, places: I64, classes: I64, block: int, out: F32) -> None:
    """The mean of a gradient over symmetries of the motifs, such as quarter turns and mirrorings.

    out[place, :, class] = mean over g of slope[places[g, place], :, classes[g, class]]

    Args:
        slope: [place * block, class].
        places: [g, place] where each place comes from.
        classes: [g, class] where each class comes from.
        block: rows of one place: delays times polarities.
        out: like ``slope``, overwritten.
    """
    _symmetrise(slope, places, classes, block, out)


def adam(weight: F32, slope: F32, first: F32, second: F32, step: int, rate: float) -> None:
    """One step of Adam (decay .9 and .999), in place.

    Args:
        weight: any shape; so are ``slope`` and the moments.
        slope: the loss's gradient by the weights.
        first: moving mean of the gradient.
        second: moving mean of its square.
        step: number of this step, from 1.
        rate: the learning rate.
    """
    _adam(
        weight.reshape(-1), slope.reshape(-1), first.reshape(-1), second.reshape(-1),
        rate / (1 - 0.9**step), 1 / (1 - 0.999**step),
    )  # fmt: skip


@kernel
def _mark(t: T, x: XY, y: XY, p: P, bin_us: int, past: U64) -> None:
    for i in range(t.size):
        past[t[i] // bin_us, y[i], x[i], np.int64(p[i])] = np.uint64(1)


@kernel
def _count(past: U64, voxels: I64, height: int, width: int, delays: int, offsets: I64) -> None:
    window = ~np.uint64(0) >> np.uint64(64 - delays)
    for i in range(voxels.shape[0]):
        k, row, column = voxels[i, 0], voxels[i, 1] - height // 2, voxels[i, 2] - width // 2
        n = 0
        for dy in range(height):
            for dx in range(width):
                for p in range(2):
                    word = past[k, row + dy, column + dx, p] & window
                    while word != np.uint64(0):
                        word &= word - np.uint64(1)
                        n += 1
        offsets[i + 1] = offsets[i] + n


@kernel
def _gather(past: U64, voxels: I64, height: int, width: int, delays: int, offsets: I64, index: I32) -> None:
    window = ~np.uint64(0) >> np.uint64(64 - delays)
    for i in range(voxels.shape[0]):
        k, row, column = voxels[i, 0], voxels[i, 1] - height // 2, voxels[i, 2] - width // 2
        n = offsets[i]
        for dy in range(height):
            for dx in range(width):
                for p in range(2):
                    word = past[k, row + dy, column + dx, p] & window
                    while word != np.uint64(0):
                        index[n] = ((dy * width + dx) * delays + trailing_zeros(word)) * 2 + p
                        word &= word - np.uint64(1)
                        n += 1


@kernel
def _logits(index: I32, offsets: I64, weight: F32, bias: F32, out: F32, other: F32) -> None:
    flip = other.shape[0] > 0
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[i, c] = bias[c]
            if flip:
                other[i, c] = bias[c]
        for j in range(offsets[i], offsets[i + 1]):
            tap = np.int64(index[j])
            for c in range(out.shape[1]):
                out[i, c] += weight[tap, c]
            if flip:
                for c in range(out.shape[1]):
                    other[i, c] += weight[tap ^ 1, c]


@kernel
def _gradient(index: I32, offsets: I64, straight: F32, crossed: F32, out: F32) -> None:
    flip = crossed.shape[0] > 0
    for i in range(straight.shape[0]):
        for j in range(offsets[i], offsets[i + 1]):
            tap = np.int64(index[j])
            for c in range(out.shape[1]):
                out[tap, c] += straight[i, c]
            if flip:
                for c in range(out.shape[1]):
                    out[tap ^ 1, c] += crossed[i, c]


@kernel
def _symmetrise(slope: F32, places: I64, classes: I64, block: int, out: F32) -> None:
    share = np.float32(1.0 / places.shape[0])
    for place in range(places.shape[1]):
        for row in range(block):
            for c in range(out.shape[1]):
                total = np.float32(0)
                for g in range(places.shape[0]):
                    total += slope[places[g, place] * block + row, classes[g, c]]
                out[place * block + row, c] = total * share


@kernel
def _adam(weight: F32, slope: F32, first: F32, second: F32, rate: float, correction: float) -> None:
    for i in range(weight.size):
        first[i] += np.float32(0.1) * (slope[i] - first[i])
        second[i] += np.float32(0.001) * (slope[i] * slope[i] - second[i])
        root = np.sqrt(second[i] * np.float32(correction)) + np.float32(1e-8)
        weight[i] -= np.float32(rate) * first[i] / root


def gather_bins(t: T, address: I64, bins: I64, bin_us: int, delays: int) -> Inputs:
    """Active taps, address * delays + delay, of whole bins: what :mod:`kernels.motifs.coincidence` sums.

    Args:
        t: times [n], us, never falling.
        address: [n].
        bins: those to gather, ascending.
        bin_us: the width of a bin.
        delays: how many delays.
    """
    now = t // bin_us
    starts, stops = np.searchsorted(now, bins - delays + 1), np.searchsorted(now, bins, side="right")
    parts = [
        np.unique(address[a:b] * delays + (k - now[a:b])) for k, a, b in zip(bins, starts, stops, strict=True)
    ]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(part) for part in parts])]).astype(
        np.int64
    )
    return Inputs(np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int32), offsets)


def gather_events(
    t: T, x: XY, y: XY, p: P, voxels: I64, height: int, width: int, delays: int, bin_us: int
) -> Inputs:
    """Active taps of a few voxels straight from the events; beyond the sensor there are none.

    Args:
        t: times [n], us, never falling.
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        voxels: (bin, y, x) [m, 3].
        height: of the kernel, odd.
        width: of the kernel, odd.
        delays: how many delays.
        bin_us: the width of a bin.
    """
    starts = np.searchsorted(t, (voxels[:, 0] - delays + 1) * bin_us)
    stops = np.searchsorted(t, (voxels[:, 0] + 1) * bin_us)
    found = np.empty(int((stops - starts).max(initial=0)), np.int64)
    parts: list[NDArray[np.int64]] = []
    for voxel, a, b in zip(voxels, starts, stops, strict=True):
        n = _in_reach(t[a:b], x[a:b], y[a:b], p[a:b], voxel, height, width, delays, bin_us, found)
        parts.append(np.unique(found[:n]))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(part) for part in parts])]).astype(
        np.int64
    )
    return Inputs(np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int32), offsets)


@kernel
def _in_reach(
    t: T, x: XY, y: XY, p: P, voxel: I64, height: int, width: int, delays: int, bin_us: int, found: I64
) -> int:
    n = 0
    for i in range(t.size):
        dy = np.int64(y[i]) - voxel[1] + height // 2
        dx = np.int64(x[i]) - voxel[2] + width // 2
        if 0 <= dy < height and 0 <= dx < width:
            delay = voxel[0] - t[i] // bin_us
            found[n] = ((dy * width + dx) * delays + delay) * 2 + np.int64(p[i])
            n += 1
    return n
