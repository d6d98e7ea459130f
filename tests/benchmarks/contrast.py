"""Velocity of a tile by contrast maximisation: an estimate that shares nothing with motif detection.

Gallego, Rebecq & Scaramuzza, "A unifying contrast maximization framework for event cameras", CVPR 2018: events are
moved back along a velocity to the middle of their window; the velocity that makes the sharpest image is theirs.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel

SPEEDS = np.arange(-21, 22) * 0.04
"""px/ms along each axis that are tried."""


@kernel
def contrasts(ms, x, y, vx, vy, image, out):
    """How sharp the image is of events (time in ms, place) that are moved back along each velocity."""
    for i in range(vx.size):
        image[:] = 0.0
        for k in range(ms.size):
            px, py = x[k] - vx[i] * ms[k], y[k] - vy[i] * ms[k]
            column, row = int(np.floor(px)), int(np.floor(py))
            if 0 <= column < image.shape[1] - 1 and 0 <= row < image.shape[0] - 1:
                a, b = px - column, py - row
                image[row, column] += (1 - a) * (1 - b)
                image[row, column + 1] += a * (1 - b)
                image[row + 1, column] += (1 - a) * b
                image[row + 1, column + 1] += a * b
        total, square = 0.0, 0.0
        for row in range(image.shape[0]):
            for column in range(image.shape[1]):
                total += image[row, column]
                square += image[row, column] ** 2
        mean = total / image.size
        out[i] = square / image.size - mean * mean


def velocity(t, x, y, middle_us, side):
    """(vx, vy, unanimity): the best velocity, and how much those that are nearly as good agree with it in direction.

    Along a straight edge all velocities with the same component across it are as good: nothing is known of the
    direction then, and unanimity is low.
    """
    image, pad = np.zeros((side + 24, side + 24)), 12.0
    vy, vx = (grid.ravel() for grid in np.meshgrid(SPEEDS, SPEEDS, indexing="ij"))
    out = np.empty(len(vx))
    contrasts((t - middle_us) * 1e-3, x + pad, y + pad, vx, vy, image, out)
    out = out.reshape(len(SPEEDS), len(SPEEDS))
    i, j = np.unravel_index(int(out.argmax()), out.shape)
    middle = np.median(out)
    rows, columns = np.nonzero(out >= middle + 0.85 * (out.max() - middle))
    good = SPEEDS[columns] + 1j * SPEEDS[rows]
    unanimity = abs(np.where(np.abs(good) > 0, good / np.maximum(np.abs(good), 1e-9), 0).mean())
    return SPEEDS[j], SPEEDS[i], float(unanimity)


def field(columns, width, height, tile, window_us, least_events=120):
    """{(window end, x, y): (vx, vy, unanimity)} of the tiles that hold enough events."""
    t, x, y, _ = columns
    found = {}
    for start in range(int(t[0]) // window_us * window_us, int(t[-1]) + 1, window_us):
        a, b = np.searchsorted(t, [start, start + window_us])
        for top in range(0, height, tile):
            rows = (y[a:b] >= top) & (y[a:b] < top + tile)
            for left in range(0, width, tile):
                inside = np.flatnonzero(rows & (x[a:b] >= left) & (x[a:b] < left + tile)) + a
                if len(inside) < least_events:
                    continue
                inside = inside[:: max(1, len(inside) // 1500)]
                found[start + window_us, left, top] = velocity(
                    t[inside],
                    x[inside] - np.float64(left),
                    y[inside] - np.float64(top),
                    start + window_us / 2,
                    tile,
                )
    return found
