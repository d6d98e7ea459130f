"""The gathering of active taps and the regression over them, as sums over dense arrays."""

import numpy as np


def taps(t, x, y, p, voxel, height, width, delays, bin_us):
    """Indices of the active taps of one voxel (bin, y, x), sorted."""
    now, row, column = voxel
    active = {
        (int(p_), int(t_) // bin_us, int(y_), int(x_)) for t_, x_, y_, p_ in zip(t, x, y, p, strict=True)
    }
    return sorted(
        ((dy * width + dx) * delays + d) * 2 + p_
        for dy in range(height)
        for dx in range(width)
        for p_ in (0, 1)
        for d in range(delays)
        if (p_, now - d, row + dy - height // 2, column + dx - width // 2) in active
    )


def dense(index, offsets, taps):
    """[voxel, tap]: how often each tap is active."""
    made = np.zeros((len(offsets) - 1, taps))
    for i in range(len(offsets) - 1):
        np.add.at(made[i], index[offsets[i] : offsets[i + 1]], 1)
    return made


def swap(inputs):
    """The same voxels with ON and OFF swapped."""
    return inputs[:, np.arange(inputs.shape[1]) ^ 1]


def logits(inputs, weight, bias, flip):
    straight = inputs @ weight + bias
    if not flip:
        return straight, np.zeros(straight.shape, bool)
    crossed = swap(inputs) @ weight + bias
    return np.maximum(straight, crossed), crossed > straight


def gradient(inputs, error, swapped):
    return inputs.T @ np.where(swapped, 0, error) + swap(inputs).T @ np.where(swapped, error, 0)


def symmetrise(slope, places, classes, block):
    out = np.zeros_like(slope)
    for place in range(places.shape[1]):
        for row in range(block):
            for c in range(slope.shape[1]):
                out[place * block + row, c] = np.mean(
                    [slope[places[g, place] * block + row, classes[g, c]] for g in range(len(places))]
                )
    return out


def adam(weight, slopes, rate):
    """Weights after several steps."""
    first = second = np.zeros_like(weight)
    for step, slope in enumerate(slopes, 1):
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weight = weight - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return weight
