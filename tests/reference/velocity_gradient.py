"""The plain twin of kernels/motion/velocity_gradient.py: least squares tile after tile, steps before they are rounded."""

import numpy as np


def steps(vx, vy, sure, speaks, across, angles):
    """[tile, side, 2] in cells, as floats; NaN where a velocity is none."""
    column, row = speaks % across, speaks // across
    v = np.stack([vx, vy], axis=1)
    out = np.full((len(speaks), 4, 2), np.nan)
    for i in range(len(speaks)):
        d = np.stack([column - column[i], row - row[i]], axis=1)
        differs = np.linalg.norm(v - v[i], axis=1)
        longer = np.maximum(np.linalg.norm(v, axis=1), np.linalg.norm(v[i]))
        used = (np.abs(d).max(axis=1) <= 2) & (differs <= longer)
        root = np.sqrt(sure[used])[:, None]
        left = np.vstack([root * np.column_stack([np.ones(used.sum()), d[used]]), [[0, 1, 0], [0, 0, 1]]])
        plane = np.linalg.lstsq(left, np.vstack([root * v[used], np.zeros((2, 2))]), rcond=None)[0]
        for side, (dx, dy) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            here, there = plane[0] @ [1, 1j], (plane[0] + dx * plane[1] + dy * plane[2]) @ [1, 1j]
            if abs(here) > 0 and abs(there) > 0:
                turned = np.angle(there / here) * angles / (2 * np.pi)
                out[i, side] = np.clip(3 * np.log2(abs(there) / abs(here)), -4, 4), turned
    return out
