"""Heterogeneous-delay motif detection on a pixel grid.

Grimaldi & Perrinet, "Learning heterogeneous delays in a layer of spiking neurons for fast motion
detection", Biological Cybernetics 2023. With A binary presence of events per polarity, bin and pixel,

    B(c, t, y, x) = bias_c + sum over p, d, dy, dx of K(c, p, d, dy, dx) A(p, t - d, y + dy, x + dx)

is evaluated at each (bin, pixel) that held an event, once the bin is closed. The recent past is one
64-bit word per pixel and polarity, bit d set if an event fell d bins ago, so the work is the number of
active inputs and not the size of the window. Weights are integers held as float32: every order of
addition gives the same sum (as long as sum |w| + |bias| < 2^24).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, F64, I64, U64, XY, P, T

MAX_DELAYS = 64
NO_BIN = -(2**60)
"""The bin of a pixel that has seen nothing: further back than any delay."""

OPEN, START = 0, 1


@dataclass
class History:
    """What a detector remembers; all arrays are updated in place.

    Attributes:
        bits: [height + 2 r, width + 2 r, polarity] uint64, bit d = an event d bins before ``stamp``.
        stamp: [height + 2 r, width + 2 r] int64, the bin of each pixel's last event.
        occupied: [height, words] uint64, the pixels that held an event in the open bin.
        rows: [height / 64] uint64, the rows of ``occupied`` that are not empty.
        bins: [OPEN, START] int64, the bin being filled and the first bin since start or gap.
    """

    bits: U64
    stamp: I64
    occupied: U64
    rows: U64
    bins: I64


@dataclass(frozen=True)
class Taps:
    """A motif bank as the kernel reads it.

    Attributes:
        weight: [dy, dx, polarity, delay, class] float32 integers, classes padded to a multiple of 8.
        mask: [dy, dx, polarity] uint64, the delays whose weights are not all zero.
        bias: [class] float32 integers, padded with -inf.
        classes: how many classes there are before padding.
        contrast_flip: whether evidence is the maximum over both polarity assignments.
    """

    weight: F32
    mask: U64
    bias: F32
    classes: int
    contrast_flip: bool

    @property
    def radius(self) -> int:
        """Half the kernel's size, in pixels."""
        return self.weight.shape[0] // 2

    @property
    def delays(self) -> int:
        """The number of delays, in bins."""
        return self.weight.shape[3]


@dataclass
class Found:
    """Rows of closed bins, in order of (bin, y, x)."""

    bin: I64
    x: XY
    y: XY
    label: XY
    total: F32
    """The winner's integer sum."""
    evidence: F32
    """All classes' integer sums [n, class], or [0, class] where nobody asked."""


def new_history(width: int, height: int, radius: int) -> History:
    """A history in which nothing has happened."""
    padded = (height + 2 * radius, width + 2 * radius)
    return History(
        np.zeros((*padded, 2), np.uint64),
        np.full(padded, NO_BIN, np.int64),
        np.zeros((height, -(-width // 64)), np.uint64),
        np.zeros(-(-height // 64), np.uint64),
        np.full(2, NO_BIN, np.int64),
    )


def taps(weight: F32, bias: F32, contrast_flip: bool) -> Taps:
    """Lay out a bank [class, polarity, delay, dy, dx] for :func:`advance`.

    Raises:
        ValueError: more than 64 delays, a kernel that has no centre, or sums that float32 cannot hold.
    """
    classes, _, delays, height, width = weight.shape
    if delays > MAX_DELAYS or height != width or height % 2 == 0:
        raise ValueError(f"a motif kernel is odd, square and has at most 64 delays, not {weight.shape[2:]}")
    if (np.abs(weight).sum(axis=(1, 2, 3, 4)) + np.abs(bias)).max(initial=0) >= 2**24:
        raise ValueError("sum |weight| + |bias| of a class must stay below 2^24, or sums are not exact")
    padded = -(-classes // 8) * 8
    laid = np.zeros((height, width, 2, delays, padded), np.float32)
    laid[..., :classes] = weight.transpose(3, 4, 1, 2, 0)
    used = np.any(laid != 0, axis=4).astype(np.uint64) << np.arange(delays, dtype=np.uint64)
    mask = np.bitwise_or.reduce(used, axis=3)
    if contrast_flip:
        mask |= mask[:, :, ::-1]
    full_bias = np.full(padded, -np.inf, np.float32)
    full_bias[:classes] = bias
    return Taps(laid, mask, full_bias, classes, contrast_flip)


def advance(
    t: T, x: XY, y: XY, p: P, history: History, bank: Taps, bin_us: int, until_bin: int, with_evidence: bool
) -> Found:
    """Take in events and evaluate every bin that closes: those before the last event's, or ``until_bin``.

    Args:
        t: times [n], never falling.
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        history: the past, updated in place.
        bank: the motifs.
        bin_us: the width of a bin.
        until_bin: bins below this one are closed.
        with_evidence: whether all classes' sums are returned.
    """
    # Each event opens at most one pixel of one bin, and so do those already in the open bin.
    room = len(t) + int(np.bitwise_count(history.occupied).sum())
    found = Found(
        np.empty(room, np.int64),
        np.empty(room, np.uint16),
        np.empty(room, np.uint16),
        np.empty(room, np.uint16),
        np.empty(room, np.float32),
        np.empty((room if with_evidence else 0, bank.classes), np.float32),
    )
    scratch = np.empty((2, len(bank.bias)), np.float32)
    n = _advance(
        t, x, y, p, history.bits, history.stamp, history.occupied, history.rows, history.bins,
        bank.weight, bank.mask, bank.bias, bank.classes, bank.contrast_flip, bin_us, until_bin,
        with_evidence, scratch, found.bin, found.x, found.y, found.label, found.total, found.evidence,
    )  # fmt: skip
    return Found(
        found.bin[:n],
        found.x[:n],
        found.y[:n],
        found.label[:n],
        found.total[:n],
        found.evidence[: n if with_evidence else 0],
    )


def forget(history: History) -> None:
    """Start anew, as after a gap."""
    history.bits[:] = 0
    history.stamp[:] = NO_BIN
    history.occupied[:] = 0
    history.rows[:] = 0
    history.bins[:] = NO_BIN


def certainty(sums: F32, scale: float) -> F64:
    """The winner's softmax probability per row of integer sums [n, class]."""
    probability = np.empty(len(sums), np.float64)
    _certainty(sums, scale, probability)
    return probability


@kernel
def _certainty(sums: F32, scale: float, probability: F64) -> None:
    for i in range(sums.shape[0]):
        largest = sums[i, 0]
        for c in range(1, sums.shape[1]):
            largest = max(largest, sums[i, c])
        total = 0.0
        for c in range(sums.shape[1]):
            total += math.exp((np.float64(sums[i, c]) - np.float64(largest)) * scale)
        probability[i] = 1.0 / total


@kernel
def _advance(
    t: T, x: XY, y: XY, p: P,
    bits: U64, stamp: I64, occupied: U64, rows: U64,
    bins: I64,
    weight: F32, mask: U64, bias: F32, classes: int,
    contrast_flip: bool, bin_us: int, until_bin: int, with_evidence: bool, scratch: F32,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY,
    out_total: F32, out_evidence: F32,
) -> int:  # fmt: skip
    radius = weight.shape[0] // 2
    n = 0
    for i in range(t.size):
        now = t[i] // bin_us
        if now != bins[OPEN]:
            n = _evaluate(
                bits, stamp, occupied, rows, bins[OPEN], weight, mask, bias, classes, contrast_flip,
                with_evidence, scratch, n, out_bin, out_x, out_y, out_label, out_total, out_evidence,
            )  # fmt: skip
            bins[OPEN] = now
            if bins[START] == NO_BIN:
                bins[START] = now
        row, column = np.int64(y[i]), np.int64(x[i])
        _remember(bits, stamp, row + radius, column + radius, now, np.int64(p[i]))
        occupied[row, column >> 6] |= np.uint64(1) << np.uint64(column & 63)
        rows[row >> 6] |= np.uint64(1) << np.uint64(row & 63)
    if bins[OPEN] < until_bin:
        n = _evaluate(
            bits, stamp, occupied, rows, bins[OPEN], weight, mask, bias, classes, contrast_flip,
            with_evidence, scratch, n, out_bin, out_x, out_y, out_label, out_total, out_evidence,
        )  # fmt: skip
    return n


@kernel
def _remember(bits: U64, stamp: I64, row: int, column: int, now: int, p: int) -> None:
    age = now - stamp[row, column]
    if age >= MAX_DELAYS:
        bits[row, column, 0] = np.uint64(0)
        bits[row, column, 1] = np.uint64(0)
    elif age > 0:
        bits[row, column, 0] <<= np.uint64(age)
        bits[row, column, 1] <<= np.uint64(age)
    stamp[row, column] = now
    bits[row, column, p] |= np.uint64(1)


@kernel
def _evaluate(
    bits: U64, stamp: I64, occupied: U64, rows: U64,
    now: int, weight: F32, mask: U64, bias: F32, classes: int,
    contrast_flip: bool, with_evidence: bool, scratch: F32, n: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY,
    out_total: F32, out_evidence: F32,
) -> int:  # fmt: skip
    """Evaluate the occupied pixels of bin ``now`` in raster order, and empty them."""
    for block in range(rows.size):
        while rows[block] != np.uint64(0):
            row = block * 64 + trailing_zeros(rows[block])
            rows[block] &= rows[block] - np.uint64(1)
            for word in range(occupied.shape[1]):
                while occupied[row, word] != np.uint64(0):
                    column = word * 64 + trailing_zeros(occupied[row, word])
                    occupied[row, word] &= occupied[row, word] - np.uint64(1)
                    _sum(bits, stamp, row, column, now, weight, mask, bias, contrast_flip, scratch)
                    winner = 0
                    for c in range(classes):
                        if scratch[0, c] > scratch[0, winner]:
                            winner = c
                        if with_evidence:
                            out_evidence[n, c] = scratch[0, c]
                    out_bin[n], out_x[n], out_y[n] = now, column, row
                    out_label[n], out_total[n] = winner, scratch[0, winner]
                    n += 1
    return n


@kernel
def _sum(
    bits: U64, stamp: I64, row: int, column: int, now: int,
    weight: F32, mask: U64, bias: F32, contrast_flip: bool,
    scratch: F32,
) -> None:  # fmt: skip
    """All classes' sums at one pixel, left in ``scratch[0]``."""
    size, delays, padded = weight.shape[0], weight.shape[3], weight.shape[4]
    as_is, flipped = scratch[0], scratch[1]
    for c in range(padded):
        as_is[c] = bias[c]
        flipped[c] = bias[c]
    for dy in range(size):
        for dx in range(size):
            age = now - stamp[row + dy, column + dx]
            if age >= delays:
                continue
            for p in range(2):
                word = (bits[row + dy, column + dx, p] << np.uint64(age)) & mask[dy, dx, p]
                while word != np.uint64(0):
                    d = trailing_zeros(word)
                    word &= word - np.uint64(1)
                    for c in range(padded):
                        as_is[c] += weight[dy, dx, p, d, c]
                    if contrast_flip:
                        for c in range(padded):
                            flipped[c] += weight[dy, dx, 1 - p, d, c]
    if contrast_flip:
        for c in range(padded):
            as_is[c] = max(as_is[c], flipped[c])
