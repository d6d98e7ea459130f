"""Lempel-Ziv complexity of spike trains: how regular a region's activity is.

A binary train of n bins is cut, from the left, into the shortest words that have not been seen before
(Lempel & Ziv 1976); with c words, the measure is c log2(n) / n: about 1 for a train of fair coin tosses, near
0 for one that repeats itself. Kaspar & Schuster, Physical Review A 1987, gives the scan; as a feature of
event streams: "Lempel-Ziv complexity for spiking classifiers", 2025.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import F32

U8 = NDArray[np.uint8]


def words(train: U8) -> int:
    """How many words a train [n] of 0 and 1 falls into."""
    return int(_words(train))


def complexity(trains: U8, out: F32) -> None:
    """c log2(n) / n of each train.

    Args:
        trains: [train, n] of 0 and 1, n > 1.
        out: [train], overwritten.
    """
    n = trains.shape[1]
    _complexity(trains, np.float32(math.log2(n) / n), out)


@kernel
def _complexity(trains: U8, scale: float, out: F32) -> None:
    for i in range(trains.shape[0]):
        out[i] = np.float32(_words(trains[i])) * scale


@kernel
def _words(train: U8) -> int:
    n = train.size
    if n == 0:
        return 0
    found, start, copy, length, longest = 1, 1, 0, 1, 1
    # ``start``: where the word that grows begins; ``copy``: where what is compared with it does.
    while start + length <= n:
        if train[copy + length - 1] == train[start + length - 1]:
            length += 1
            if start + length > n:
                return found + 1
            continue
        longest = max(longest, length)
        copy += 1
        if copy == start:  # nothing before it holds the word: it is a new one
            found += 1
            start += longest
            copy, length, longest = 0, 1, 1
        else:
            length = 1
    return found
