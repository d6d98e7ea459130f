"""How a motion field changes from a tile to the next, in cells of a grid of speeds and directions.

To the tile at place p and those around it a plane is fitted, with weights w (how sure each is),

    v(p + d) = v0 + G d,    sum of w |v0 + G d - v|^2 + ridge |G|^2 -> min,    |dx|, |dy| <= 2

over the tiles that answered and whose velocity differs from the middle one's by no more than the longer of the two.
What the plane says of the step to each of the four neighbours is told in whole cells, a third of an octave and one of
the grid's directions. A field that changes by less than half a cell a tile counts as even: noise moves nothing.
"""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.columns import F64, I64

REACH = 2
_RIDGE = 1.0
_MOST_SPEEDS = 4
SIDES = 4
"""Left, right, above, below."""


def steps(vx: F64, vy: F64, sure: F64, speaks: I64, number: I64, across: int, angles: int) -> I64:
    """(speeds, directions) by which each neighbour is expected to move faster and further round, [tile, side, 2].

    Args:
        vx: of the tiles that answered [n]; so is ``vy``.
        vy: see above.
        sure: their weights [n], above 0.
        speaks: their places in raster order [n].
        number: [place], which of them it is, -1 for none.
        across: places in a row.
        angles: directions of the grid.
    """
    out = np.zeros((len(speaks), SIDES, 2), np.int64)
    _steps(vx, vy, sure, speaks, number, across, angles, out)
    return out


@kernel
def _steps(
    vx: F64, vy: F64, sure: F64, speaks: I64, number: I64, across: int, angles: int, out: I64
) -> None:  # fmt: skip
    plane = np.empty((3, 2))
    for i in range(speaks.size):
        if not _fit(vx, vy, sure, i, speaks[i], number, across, plane):
            continue
        x0, y0 = plane[0, 0], plane[0, 1]
        for side in range(SIDES):
            axis, sign = (1, 2 * side - 1) if side < 2 else (2, 2 * side - 5)
            x1, y1 = x0 + sign * plane[axis, 0], y0 + sign * plane[axis, 1]
            before, after = x0 * x0 + y0 * y0, x1 * x1 + y1 * y1
            if before <= 0 or after <= 0:
                continue
            faster = 1.5 * math.log2(after / before)
            out[i, side, 0] = np.int64(np.rint(min(max(faster, -_MOST_SPEEDS), _MOST_SPEEDS)))
            turned = math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)
            out[i, side, 1] = np.int64(np.rint(turned * angles / (2 * math.pi)))


@kernel
def _fit(vx: F64, vy: F64, sure: F64, i: int, k: int, number: I64, across: int, plane: F64) -> bool:
    """v0 and the rows of G', [3, (x, y)]; False where there is nothing to fit."""
    w, wx, wy, xx, xy, yy = 0.0, 0.0, 0.0, _RIDGE, 0.0, _RIDGE
    plane[:] = 0.0
    own = math.hypot(vx[i], vy[i])
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            place = k + dy * across + dx
            if not 0 <= k % across + dx < across or not 0 <= place < number.size or number[place] < 0:
                continue
            j = number[place]
            if math.hypot(vx[j] - vx[i], vy[j] - vy[i]) > max(own, math.hypot(vx[j], vy[j])):
                continue
            w += sure[j]
            wx += sure[j] * dx
            wy += sure[j] * dy
            xx += sure[j] * dx * dx
            xy += sure[j] * dx * dy
            yy += sure[j] * dy * dy
            for axis in range(2):
                v = sure[j] * (vx[j] if axis == 0 else vy[j])
                plane[0, axis] += v
                plane[1, axis] += v * dx
                plane[2, axis] += v * dy
    # Gauss, the mean first: what is left of the two slopes is positive, as the ridge is.
    if w <= 0:
        return False
    sxx, sxy, syy = xx - wx * wx / w, xy - wx * wy / w, yy - wy * wy / w
    size = sxx * syy - sxy * sxy
    for axis in range(2):
        mean = plane[0, axis] / w
        bx, by = plane[1, axis] - wx * mean, plane[2, axis] - wy * mean
        gx, gy = (syy * bx - sxy * by) / size, (sxx * by - sxy * bx) / size
        plane[0, axis] = mean - (wx * gx + wy * gy) / w
        plane[1, axis], plane[2, axis] = gx, gy
    return True
