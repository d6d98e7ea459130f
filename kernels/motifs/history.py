"""The recent past of every pixel, as bits: what a motif detector remembers.

One 64-bit word per pixel and polarity; bit d is set if an event fell d bins before the bin of the pixel's
last event. Sides are padded by half a kernel, so that no window reaches beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import I64, U64

MAX_DELAYS = 64
NO_BIN = -(2**60)
"""The bin of a pixel that has seen nothing: further back than any delay."""

OPEN, START, FRESH, COUNT = 0, 1, 2, 3
_STATE = ("bits", "stamp", "recent", "targets", "rows", "bins")


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


def saved(history: History) -> dict[str, NDArray[Any]]:
    """All that a later :func:`load` needs, as copies."""
    return {name: getattr(history, name).copy() for name in _STATE}


def load(history: History, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Go on from what :func:`saved` gave."""
    for name in _STATE:
        getattr(history, name)[:] = arrays[name]


@kernel
def start_bin(history: History, now: int) -> None:
    """Open a bin."""
    history.bins[OPEN] = now
    if history.bins[START] == NO_BIN:
        history.bins[START] = now
