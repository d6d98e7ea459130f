"""From class evidence to a motion field: where each tile of the sensor moves, and how surely.

Per evidence row the posterior is softmax(scale * sums). A tile's posterior over a window is the mean of
its rows'. Its velocity is the posterior mean of the class velocities within 90 degrees of the winning
direction, which interpolates between classes; its confidence is the length of the posterior mean of
all unit directions: 1 where every row agrees, 0 where directions cancel.
"""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32, F64, I64, XY


def accumulate(
    sums: F32, scale: float, x: XY, y: XY, tile: int,
    posterior: F64, count: I64,
) -> None:  # fmt: skip
    """Add evidence rows [n, class] to their tiles, row after row.

    Args:
        sums: integer sums; the logits are ``scale`` times these.
        scale: the bank's scale.
        x: pixel columns of the rows; so is ``y``.
        y: see above.
        tile: the side of a tile, pixels.
        posterior: [tiles_y, tiles_x, class], summed in place.
        count: [tiles_y, tiles_x] rows summed.
    """
    _accumulate(sums, scale, x, y, tile, posterior, count, np.empty(sums.shape[1], np.float64))


def velocity(
    posterior: F64, count: I64, direction: F64,
    speed: F64, min_count: int,
) -> tuple[I64, I64, F32, F32, F32]:  # fmt: skip
    """The field of the tiles that hold at least ``min_count`` rows, in raster order.

    Args:
        posterior: summed posteriors [tiles_y, tiles_x, class].
        count: rows summed [tiles_y, tiles_x].
        direction: of each class, radians, 0 = right, pi/2 = down.
        speed: of each class, px/ms.
        min_count: tiles with fewer rows stay silent.

    Returns:
        Columns (tile_x, tile_y, vx, vy, confidence).
    """
    n = int((count >= min_count).sum())
    tx, ty = np.empty(n, np.int64), np.empty(n, np.int64)
    vx, vy, confidence = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    _velocity(
        posterior, count, np.cos(direction), np.sin(direction), speed, min_count, tx, ty, vx, vy, confidence
    )
    return tx, ty, vx, vy, confidence


@kernel
def _accumulate(
    sums: F32, scale: float, x: XY, y: XY, tile: int,
    posterior: F64, count: I64, weight: F64,
) -> None:  # fmt: skip
    classes = sums.shape[1]
    for i in range(sums.shape[0]):
        largest = np.float64(sums[i, 0])
        for c in range(1, classes):
            largest = max(largest, np.float64(sums[i, c]))
        total = 0.0
        for c in range(classes):
            weight[c] = math.exp((np.float64(sums[i, c]) - largest) * scale)
            total += weight[c]
        ty, tx = np.int64(y[i]) // tile, np.int64(x[i]) // tile
        for c in range(classes):
            posterior[ty, tx, c] += weight[c] / total
        count[ty, tx] += 1


@kernel
def _velocity(
    posterior: F64, count: I64, cosine: F64,
    sine: F64, speed: F64, min_count: int,
    out_x: I64, out_y: I64, out_vx: F32,
    out_vy: F32, out_confidence: F32,
) -> None:  # fmt: skip
    n = 0
    for ty in range(count.shape[0]):
        for tx in range(count.shape[1]):
            if count[ty, tx] < min_count:
                continue
            mass = posterior[ty, tx]
            winner = 0
            for c in range(1, mass.size):
                if mass[c] > mass[winner]:
                    winner = c
            vx, vy, near, ux, uy, total = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for c in range(mass.size):
                ux += mass[c] * cosine[c]
                uy += mass[c] * sine[c]
                total += mass[c]
                if cosine[c] * cosine[winner] + sine[c] * sine[winner] > 1e-9:
                    vx += mass[c] * speed[c] * cosine[c]
                    vy += mass[c] * speed[c] * sine[c]
                    near += mass[c]
            out_x[n], out_y[n] = tx, ty
            out_vx[n], out_vy[n] = vx / near, vy / near
            out_confidence[n] = math.sqrt(ux * ux + uy * uy) / total
            n += 1
