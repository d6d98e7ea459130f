"""The quantised network evaluated whole in every step, in whole numbers."""

import numpy as np

from tests.reference.spiking import convolve


def level(z, multiplier, low, top):
    """[channel, ...] sums as levels, in the precision that is stated."""
    shape = (-1,) + (1,) * (z.ndim - 1)
    scaled = z.astype(np.float32) * multiplier.reshape(shape)
    return np.clip(np.floor(scaled + np.float32(0.5)), low, top).astype(np.int64)


def layer(levels, weight, bias, multiplier, low, top, stride, pad, shape):
    """Levels [channel, y, x] out of levels in."""
    z = convolve(levels, weight, stride, pad, (1, 1), 1, shape) + bias[:, None, None]
    return level(z, multiplier, low, top)


def max_pool(levels, size, stride, pad, shape):
    """The highest level of each window."""
    channels, height, width = levels.shape
    out = np.zeros((channels, *shape), np.int64)
    for c, oy, ox in np.ndindex(out.shape):
        y, x = oy * stride[0] - pad[0], ox * stride[1] - pad[1]
        window = levels[c, max(y, 0) : min(y + size[0], height), max(x, 0) : min(x + size[1], width)]
        out[c, oy, ox] = window.max()
    return out
