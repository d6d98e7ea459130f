"""The recent past of every pixel, as bits: what a motif detector remembers.

One 64-bit word per pixel and polarity; bit d is set if an event fell d bins before the bin of the pixel's
last event. Sides are padded by half a kernel, so that no window reaches beyond.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.columns import I64, U64

MAX_DELAYS = 64
NO_BIN = -(2**60)
"""The bin of a pixel that has seen nothing: further back than any delay."""

OPEN, START, FRESH, COUNT = 0, 1, 2, 3


class History(NamedTuple):
    """What a detector remembers; all arrays are updated in place.

    Attributes:
        bits: [height + 2 ry, width + 2 rx, polarity] uint64, bit d = an event d bins before ``stamp``.
        stamp: [height + 2 ry, width + 2 rx] int64, the bin of each pixel's last event.
        recent: [height + 2 ry, words] uint64, the pixels that may hold an event of the last bins.
        targets: [height, words] uint64, the pixels to be evaluated in the open bin.
        rows: [height / 64] uint64, the rows of ``targets`` that are not empty.
        bins: int64 [OPEN: the bin being filled, START: the first bin since start or gap, FRESH: whether the
            open bin holds events that are not evaluated, COUNT: events since start or gap].
        rx: half the kernel's width.
        ry: half its height.
    """

    bits: U64
    stamp: I64
    recent: U64
    targets: U64
    rows: U64
    bins: I64
    rx: int
    ry: int

    @property
    def width(self) -> int:
        """Of the sensor."""
        return self.stamp.shape[1] - 2 * self.rx


def new_history(width: int, height: int, kernel_width: int, kernel_height: int) -> History:
    """A history in which nothing has happened, for kernels of odd sides."""
    rx, ry = kernel_width // 2, kernel_height // 2
    padded = (height + 2 * ry, width + 2 * rx)
    history = History(
        np.zeros((*padded, 2), np.uint64),
        np.empty(padded, np.int64),
        np.zeros((padded[0], -(-padded[1] // 64)), np.uint64),
        np.zeros((height, -(-width // 64)), np.uint64),
        np.zeros(-(-height // 64), np.uint64),
        np.empty(4, np.int64),
        rx,
        ry,
    )
    forget(history)
    return history


def forget(history: History) -> None:
    """Start anew, as after a gap."""
    for array in (history.bits, history.recent, history.targets, history.rows):
        array[:] = 0
    history.stamp[:] = NO_BIN
    history.bins[:] = NO_BIN, NO_BIN, 0, 0


@kernel
def start_bin(history: History, now: int) -> None:
    """Open a bin."""
    history.bins[OPEN] = now
    if history.bins[START] == NO_BIN:
        history.bins[START] = now


@kernel
def note_event(history: History, y: int, x: int, p: int, where: Any) -> None:
    """Remember an event of the open bin, and whether its pixel is to be evaluated."""
    bins, bits = history.bins, history.bits
    row, column = y + history.ry, x + history.rx
    age = bins[OPEN] - history.stamp[row, column]
    if age >= MAX_DELAYS:
        bits[row, column, 0] = np.uint64(0)
        bits[row, column, 1] = np.uint64(0)
    elif age > 0:
        bits[row, column, 0] <<= np.uint64(age)
        bits[row, column, 1] <<= np.uint64(age)
    history.stamp[row, column] = bins[OPEN]
    bits[row, column, p] |= np.uint64(1)
    history.recent[row, column >> 6] |= np.uint64(1) << np.uint64(column & 63)
    bins[FRESH] = 1
    bins[COUNT] += 1
    if where.mode == 0 and bins[COUNT] % where.step == 0:
        history.targets[y, x >> 6] |= np.uint64(1) << np.uint64(x & 63)
        history.rows[y >> 6] |= np.uint64(1) << np.uint64(y & 63)
