"""From class evidence to a motion field: where each tile of the sensor moves, and how surely.

Per evidence row the posterior is softmax(scale * sums), and its unit directions have the mean u. Over the rows of
a tile and window:

- direction: that of the sum of all u, which interpolates between classes and lets rows outvote each other;
- speed: exp of the mean of ln(speed) over the classes within 61 degrees of it, each weighted by
  softmax(3 x mean logit): rows are evidence of one and the same motion, so their logits add up, but neighbours in
  space and time see the same edges, so they count as three;
- confidence: R = |sum of u| / sum of |u| is 1 where every row agrees and 0 where directions cancel, but n rows at
  random have R^2 = 1/n, so sqrt((n R^2 - 4) / (n - 4)), with four rows for one as neighbours are alike.
"""

from __future__ import annotations

import math

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32, F64, I64, XY

_INDEPENDENT = 3.0
_ALIKE = 4.0
_NEAR = math.cos(math.radians(61.0))

U, V, LENGTH = 0, 1, 2
"""Places in ``turned``: the summed means of the unit directions, and their summed lengths."""


def accumulate(
    sums: F32, scale: float, x: XY, y: XY, tile: int, direction: F64, logits: F64, turned: F64, count: I64
) -> None:
    """Add evidence rows [n, class] to their tiles, row after row.

    Args:
        sums: integer sums; the logits are ``scale`` times these.
        scale: the bank's scale.
        x: pixel columns of the rows; so is ``y``.
        y: see above.
        tile: the side of a tile, pixels.
        direction: of each class, radians, 0 = right, pi/2 = down.
        logits: [tiles_y, tiles_x, class], summed in place.
        turned: [tiles_y, tiles_x, (U, V, LENGTH)], summed in place.
        count: [tiles_y, tiles_x] rows summed.
    """
    scratch = np.empty(sums.shape[1], np.float64)
    _accumulate(sums, scale, x, y, tile, np.cos(direction), np.sin(direction), logits, turned, count, scratch)


def velocity(
    logits: F64, turned: F64, count: I64, direction: F64, speed: F64, min_count: int
) -> tuple[I64, I64, F32, F32, F32]:
    """The field of the tiles that hold at least ``min_count`` rows, in raster order.

    Args:
        logits: from :func:`accumulate`; so are ``turned`` and ``count``.
        turned: see above.
        count: see above.
        direction: of each class, radians.
        speed: of each class, px/ms.
        min_count: tiles with fewer rows stay silent.

    Returns:
        Columns (tile_x, tile_y, vx, vy, confidence).
    """
    n = int((count >= min_count).sum())
    tx, ty = np.empty(n, np.int64), np.empty(n, np.int64)
    vx, vy, confidence = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    _velocity(
        logits, turned, count, np.cos(direction), np.sin(direction), np.log(speed), min_count,
        tx, ty, vx, vy, confidence,
    )  # fmt: skip
    return tx, ty, vx, vy, confidence


@kernel
def _accumulate(
    sums: F32, scale: float, x: XY, y: XY, tile: int, cosine: F64, sine: F64,
    logits: F64, turned: F64, count: I64, weight: F64,
) -> None:  # fmt: skip
    classes = sums.shape[1]
    for i in range(sums.shape[0]):
        largest = np.float64(sums[i, 0])
        for c in range(1, classes):
            largest = max(largest, np.float64(sums[i, c]))
        total, u, v = 0.0, 0.0, 0.0
        for c in range(classes):
            weight[c] = math.exp((np.float64(sums[i, c]) - largest) * scale)
            total += weight[c]
            u += weight[c] * cosine[c]
            v += weight[c] * sine[c]
        ty, tx = np.int64(y[i]) // tile, np.int64(x[i]) // tile
        for c in range(classes):
            logits[ty, tx, c] += np.float64(sums[i, c]) * scale
        turned[ty, tx, U] += u / total
        turned[ty, tx, V] += v / total
        turned[ty, tx, LENGTH] += math.sqrt(u * u + v * v) / total
        count[ty, tx] += 1


@kernel
def _velocity(
    logits: F64, turned: F64, count: I64, cosine: F64, sine: F64, log_speed: F64, min_count: int,
    out_x: I64, out_y: I64, out_vx: F32, out_vy: F32, out_confidence: F32,
) -> None:  # fmt: skip
    n = 0
    for ty in range(count.shape[0]):
        for tx in range(count.shape[1]):
            if count[ty, tx] < min_count:
                continue
            u, v = turned[ty, tx, U], turned[ty, tx, V]
            length = math.sqrt(u * u + v * v)
            along_x, along_y = (u / length, v / length) if length > 0 else (1.0, 0.0)
            sharpness = _INDEPENDENT / count[ty, tx]
            largest = -np.inf
            for c in range(cosine.size):
                if cosine[c] * along_x + sine[c] * along_y > _NEAR:
                    largest = max(largest, logits[ty, tx, c])
            mass, mean = 0.0, 0.0
            for c in range(cosine.size):
                if cosine[c] * along_x + sine[c] * along_y > _NEAR:
                    weight = math.exp((logits[ty, tx, c] - largest) * sharpness)
                    mass += weight
                    mean += weight * log_speed[c]
            speed = math.exp(mean / mass) if mass > 0 else 0.0
            out_x[n], out_y[n] = tx, ty
            out_vx[n], out_vy[n] = speed * along_x, speed * along_y
            whole = turned[ty, tx, LENGTH]
            agreed = (length / whole) ** 2 if whole > 0 else 0.0
            rows = np.float64(count[ty, tx])
            beyond = (rows * agreed - _ALIKE) / (rows - _ALIKE) if rows > _ALIKE else 0.0
            out_confidence[n] = math.sqrt(max(beyond, 0.0))
            n += 1
