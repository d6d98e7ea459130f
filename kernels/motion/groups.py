"""Neighbouring tiles that move alike: what may be one thing.

Two tiles among the eight around each other are joined where

    |v_a - v_b| <= alike max(|v_a|, |v_b|)

and a group is what joins make of them, one by one.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.columns import F64, I64

NONE = -1


def groups(column: I64, row: I64, vx: F64, vy: F64, alike: float) -> I64:
    """The group of each tile.

    Args:
        column: place of the tiles [n], in tiles from the left, 0 or more; each place once.
        row: likewise from the top.
        vx: of the tiles [n], px/ms.
        vy: likewise.
        alike: see above, 0 to 1.

    Returns:
        [n] int64, groups numbered from 0 in the order of their first tiles.
    """
    across = int(column.max(initial=0)) + 1
    at = np.full((int(row.max(initial=0)) + 1) * across, NONE, np.int64)
    at[row * across + column] = np.arange(len(row))
    group = np.full(len(row), NONE, np.int64)
    _grow(column, row, vx, vy, alike, at, across, group, np.empty(len(row), np.int64))
    return group


@kernel
def _grow(
    column: I64, row: I64, vx: F64, vy: F64, alike: float, at: I64, across: int, group: I64, waiting: I64
) -> None:  # fmt: skip
    found = 0
    for first in range(group.size):
        if group[first] >= 0:
            continue
        group[first], waiting[0], n = found, first, 1
        while n > 0:
            n -= 1
            one = waiting[n]
            for step in range(9):
                x, y = column[one] + step % 3 - 1, row[one] + step // 3 - 1
                if x < 0 or x >= across or y < 0 or y * across + x >= at.size:
                    continue
                other = at[y * across + x]
                if other < 0 or group[other] >= 0:
                    continue
                apart = np.hypot(vx[one] - vx[other], vy[one] - vy[other])
                speed = max(np.hypot(vx[one], vy[one]), np.hypot(vx[other], vy[other]))
                if apart <= alike * speed:
                    group[other], waiting[n] = found, other
                    n += 1
        found += 1
