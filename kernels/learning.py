"""Multinomial logistic regression over sparse space-time neighbourhoods: what trains a motif bank.

The inputs of a voxel (bin, y, x) are the active taps of its past, as in :mod:`kernels.motifs`; a tap's
index is ((dy K + dx) 2 + p) D + d. Only active taps are touched, forward and backward.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, I64, U64, XY, P, T

I32 = NDArray[np.int32]


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


def gather(past: U64, voxels: I64, size: int, delays: int) -> tuple[I32, I64]:
    """Active taps of the voxels, as (tap index, offsets [n + 1]).

    Args:
        past: from :func:`recent_past`.
        voxels: (bin, y, x) [n, 3], at least size // 2 pixels away from the border.
        size: side of the kernel, odd.
        delays: how many delays, at most 64.
    """
    offsets = np.zeros(len(voxels) + 1, np.int64)
    _count(past, voxels, size, delays, offsets)
    index = np.empty(offsets[-1], np.int32)
    _gather(past, voxels, size, delays, offsets, index)
    return index, offsets


def logits(index: I32, offsets: I64, weight: F32, bias: F32) -> F32:
    """bias + the sum of the active taps' weights [tap, class], per voxel: [n, class]."""
    out = np.empty((len(offsets) - 1, weight.shape[1]), np.float32)
    _logits(index, offsets, weight, bias, out)
    return out


def gradient(index: I32, offsets: I64, error: F32, taps: int) -> F32:
    """Gradient [tap, class] of a loss whose gradient by the logits is ``error`` [n, class]."""
    out = np.zeros((taps, error.shape[1]), np.float32)
    _gradient(index, offsets, error, out)
    return out


@kernel
def _mark(t: T, x: XY, y: XY, p: P, bin_us: int, past: U64) -> None:
    for i in range(t.size):
        past[t[i] // bin_us, y[i], x[i], np.int64(p[i])] = np.uint64(1)


@kernel
def _count(past: U64, voxels: I64, size: int, delays: int, offsets: I64) -> None:
    window = ~np.uint64(0) >> np.uint64(64 - delays)
    for i in range(voxels.shape[0]):
        k, row, column = voxels[i, 0], voxels[i, 1] - size // 2, voxels[i, 2] - size // 2
        n = 0
        for dy in range(size):
            for dx in range(size):
                for p in range(2):
                    word = past[k, row + dy, column + dx, p] & window
                    while word != np.uint64(0):
                        word &= word - np.uint64(1)
                        n += 1
        offsets[i + 1] = offsets[i] + n


@kernel
def _gather(past: U64, voxels: I64, size: int, delays: int, offsets: I64, index: I32) -> None:
    window = ~np.uint64(0) >> np.uint64(64 - delays)
    for i in range(voxels.shape[0]):
        k, row, column = voxels[i, 0], voxels[i, 1] - size // 2, voxels[i, 2] - size // 2
        n = offsets[i]
        for dy in range(size):
            for dx in range(size):
                for p in range(2):
                    word = past[k, row + dy, column + dx, p] & window
                    while word != np.uint64(0):
                        index[n] = ((dy * size + dx) * 2 + p) * delays + trailing_zeros(word)
                        word &= word - np.uint64(1)
                        n += 1


@kernel
def _logits(index: I32, offsets: I64, weight: F32, bias: F32, out: F32) -> None:
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[i, c] = bias[c]
        for j in range(offsets[i], offsets[i + 1]):
            tap = index[j]
            for c in range(out.shape[1]):
                out[i, c] += weight[tap, c]


@kernel
def _gradient(index: I32, offsets: I64, error: F32, out: F32) -> None:
    for i in range(error.shape[0]):
        for j in range(offsets[i], offsets[i + 1]):
            tap = index[j]
            for c in range(error.shape[1]):
                out[tap, c] += error[i, c]
