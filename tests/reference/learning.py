"""The gathering of active taps and the regression over them, as sums over dense arrays."""

import numpy as np


def taps(t, x, y, p, voxel, size, delays, bin_us):
    """Indices of the active taps of one voxel (bin, y, x), sorted."""
    now, row, column = voxel
    active = {
        (int(p_), int(t_) // bin_us, int(y_), int(x_)) for t_, x_, y_, p_ in zip(t, x, y, p, strict=True)
    }
    return sorted(
        ((dy * size + dx) * 2 + p_) * delays + d
        for dy in range(size)
        for dx in range(size)
        for p_ in (0, 1)
        for d in range(delays)
        if (p_, now - d, row + dy - size // 2, column + dx - size // 2) in active
    )


def logits(index, offsets, weight, bias):
    dense = np.zeros((len(offsets) - 1, len(weight)))
    for i in range(len(offsets) - 1):
        np.add.at(dense[i], index[offsets[i] : offsets[i + 1]], 1)
    return dense @ weight + bias, dense


def gradient(dense, error):
    return dense.T @ error
