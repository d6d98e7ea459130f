"""The plain twin of kernels/video/warp.py and kernels/video/_cubic.py, in numpy."""

import numpy as np


def _grid(shape):
    x, y = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)
    return np.stack(np.meshgrid(x, y), axis=-1)


def shifted(flow):
    return _grid(flow.shape) + flow


def meet(flow, returned, there):
    height, width = flow.shape[:2]
    miss = ((flow + returned) ** 2).sum(axis=-1)
    inside = (there >= 0).all(-1) & (there[..., 0] <= width - 1) & (there[..., 1] <= height - 1)
    return (miss <= 0.01 * ((flow**2).sum(-1) + (returned**2).sum(-1)) + 0.5) & inside


HORNER = np.float32([[-0.75, 1.25, -1.25, 0.75], [1.5, -2.25, 1.5, -0.75], [-0.75, 0, 0.75, 0], [0, 1, 0, 0]])


def weights(fraction):
    """[..., 4]"""
    f = fraction[..., None]
    return ((HORNER[0] * f + HORNER[1]) * f + HORNER[2]) * f + HORNER[3]


def sample(picture, x, y):
    """A picture [y, x] float32 at places, by the sixteen pixels around each; beyond the edge is the edge."""
    height, width = picture.shape
    x = np.float32(4) + np.where(x > -2, np.minimum(x, np.float32(width + 1)), np.float32(-2))
    y = np.float32(4) + np.where(y > -2, np.minimum(y, np.float32(height + 1)), np.float32(-2))
    column, row = x.astype(np.int64), y.astype(np.int64)
    along, down = weights(x - column.astype(np.float32)), weights(y - row.astype(np.float32))
    framed = np.pad(picture, 4, mode="edge")
    rows = [
        np.stack([down[..., i] * framed[row - 1 + i, column - 1 + j] for j in range(4)], axis=-1)
        for i in range(4)
    ]
    four = ((rows[0] + rows[1]) + (rows[2] + rows[3])) * along
    return (four[..., 0] + four[..., 2]) + (four[..., 1] + four[..., 3])


def light(before, after, there, back, seen, j, c):
    """What is seen at the fraction j / c."""
    first, second = before.astype(np.float32), after.astype(np.float32)
    if j in {0, c}:
        return first if j == 0 else second
    s, r = j / c, 1 - j / c
    ss, rr, rs = np.float32(s * s), np.float32(r * r), np.float32(s * r)
    grid = _grid(there.shape)
    one, other = grid + (ss * back - rs * there), grid + (rr * there - rs * back)
    share = [
        np.clip(sample(v.astype(np.float32), *at.transpose(2, 0, 1)), np.float32(0.01), np.float32(1))
        for v, at in zip(seen, (one, other), strict=True)
    ]
    weight_one, weight_other = np.float32(r) * share[1], np.float32(s) * share[0]
    lights = sample(first, *one.transpose(2, 0, 1)), sample(second, *other.transpose(2, 0, 1))
    mixed = (weight_one * lights[0] + weight_other * lights[1]) / (weight_one + weight_other)
    return np.clip(mixed, np.float32(0), np.float32(65535))


def between(before, after, there, back, seen, n, step_px, k):
    """The picture at k / n, block by block."""
    out = np.empty(before.shape, np.uint16)
    lengths = np.sqrt(np.maximum((there**2).sum(-1), (back**2).sum(-1)))
    for top in range(0, before.shape[0], 16):
        for left in range(0, before.shape[1], 16):
            block = slice(top, top + 16), slice(left, left + 16)
            far = lengths[block].max()
            c = n if step_px == 0 else max(1, int(min(n, np.ceil(far / np.float32(step_px)))))
            j = k * c // n
            a, b = (light(before, after, there, back, seen, i, c)[block] for i in (j, j + 1))
            out[block] = np.rint(a + np.float32((k * c - j * n) / n) * (b - a))
    return out
