"""The plain twin of kernels/warp.py, in numpy."""

import numpy as np


def _grid(shape):
    x, y = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)
    return np.stack(np.meshgrid(x, y), axis=-1)


def places(there, back, s):
    grid = _grid(there.shape)
    return (
        grid + ((s * s) * back - (s * (1 - s)) * there),
        grid + (((1 - s) * (1 - s)) * there - (s * (1 - s)) * back),
    )


def shifted(flow):
    return _grid(flow.shape) + flow


def meet(flow, returned, there):
    height, width = flow.shape[:2]
    miss = ((flow + returned) ** 2).sum(axis=-1)
    inside = (there >= 0).all(-1) & (there[..., 0] <= width - 1) & (there[..., 1] <= height - 1)
    return (miss <= 0.01 * ((flow**2).sum(-1) + (returned**2).sum(-1)) + 0.5) & inside


def merge(one, other, s):
    weight_other = s * np.clip(one[:, :, 1], 0.01, 1)
    weight_one = (1 - s) * np.clip(other[:, :, 1], 0.01, 1)
    light = (weight_one * one[:, :, 0] + weight_other * other[:, :, 0]) / (weight_one + weight_other)
    return np.clip(np.rint(light), 0, 65535).astype(np.uint16)
