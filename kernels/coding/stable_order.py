"""Order among rows of one time: what makes a digest independent of how rows were grouped.

Rows come sorted by time; those of equal times are put in order of a key, stably. Runs of equal times
are short and mostly in order already, so blocks are sorted by insertion and then merged: n steps for
what is in order, n log n at worst.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.columns import I64, U64, T

_BLOCK = 16


def tie_order(t: T, key: U64) -> I64 | None:
    """The permutation [n] that sorts rows by (t, key), or None where they are in order.

    Args:
        t: times [n], never falling.
        key: what decides among rows of one time [n].
    """
    order = np.arange(len(t), dtype=np.int64)
    moved = _tie_order(t, key, order, np.empty(len(t), np.int64))
    return order if moved else None


@kernel
def _tie_order(t: T, key: U64, order: I64, scratch: I64) -> bool:
    n, start, moved = t.size, 0, False
    while start < n:
        stop = start + 1
        while stop < n and t[stop] == t[start]:
            stop += 1
        for block in range(start, stop, _BLOCK):
            moved |= _insert(key, order, block, min(block + _BLOCK, stop))
        width = _BLOCK
        while width < stop - start:
            for left in range(start, stop - width, 2 * width):
                moved |= _merge(key, order, scratch, left, left + width, min(left + 2 * width, stop))
            width *= 2
        start = stop
    return moved


@kernel
def _insert(key: U64, order: I64, start: int, stop: int) -> bool:
    moved = False
    for i in range(start + 1, stop):
        row = order[i]
        j = i
        while j > start and key[order[j - 1]] > key[row]:
            order[j] = order[j - 1]
            j -= 1
            moved = True
        order[j] = row
    return moved


@kernel
def _merge(key: U64, order: I64, scratch: I64, left: int, middle: int, right: int) -> bool:
    if key[order[middle - 1]] <= key[order[middle]]:
        return False
    for i in range(left, middle):
        scratch[i] = order[i]
    i, j, k = left, middle, left
    while i < middle:
        if j < right and key[order[j]] < key[scratch[i]]:
            order[k] = order[j]
            j += 1
        else:
            order[k] = scratch[i]
            i += 1
        k += 1
    return True
