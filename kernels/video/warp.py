"""Between two pictures: what is seen at the times between, along their optical flow.

With the flow F from the first to the second and B back, at the fraction s of the time between (Jiang et al., "Super
SloMo", CVPR 2018), a pixel at z lies

    in the first at   z + s^2 B(z) - s (1 - s) F(z),     in the second at   z + (1 - s)^2 F(z) - s (1 - s) B(z)

and with the light I and the share V that is seen in the other picture, both sampled there
(:mod:`kernels.video._cubic`),

    light(z) = ((1 - s) V2 I1 + s V1 I2) / ((1 - s) V2 + s V1),   V within 0.01 .. 1

What moves far needs many pictures between, what stands nearly still does not. Blocks of 16 x 16 pixels are therefore
warped at as many times c as their own largest displacement asks for, and lie on the line between those otherwise:

    c = min(n, ceil(max(|F|, |B|) / step)),    j = floor(k c / n),
    light(k / n) = light(j / c) + (k c / n - j) (light((j + 1) / c) - light(j / c))

All in float32, in this order of operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import inlined, kernel
from kernels.columns import I64, P
from kernels.video._cubic import cubic

F32 = np.float32
Floats = NDArray[np.float32]
SIDE = 16
"""Of a block, pixels."""
_MARGIN = 4
"""Pixels around a picture that repeat its edge, so that no sample asks where it ends."""
_NONE = -2


class Pair(NamedTuple):
    """Two pictures and the flow between them.

    Attributes:
        first: light and share, (I, V) of one pixel after the other, with a margin; float32, as the next.
        second: those of the second.
        there: flow from the first picture to the second, px, [y, x, (x, y)] float32.
        back: the other way round.
        counts: c of each block [row, column] int64.
        begun: j of the two lights that are kept of each block.
        lights: [2, y, x] float32, those at j / c and (j + 1) / c.
        steps: n.
    """

    first: Floats
    second: Floats
    there: Floats
    back: Floats
    counts: I64
    begun: I64
    lights: Floats
    steps: int


def pair(
    before: NDArray[np.uint16], after: NDArray[np.uint16], there: Floats, back: Floats, seen: tuple[P, P], steps: int,
    step_px: float,
) -> Pair:  # fmt: skip
    """Two pictures, to be looked at from times between.

    Args:
        before: the first, [y, x] uint16.
        after: the second.
        there: flow from the first to the second, px, [y, x, (x, y)] float32.
        back: the other way round.
        seen: V of the first and of the second, [y, x] bool.
        steps: n, into how many the time between is cut.
        step_px: how far a block may move from one warp to the next; 0 for a warp at every step.
    """
    height, width = before.shape
    blocks = -(-height // SIDE), -(-width // SIDE)
    made = Pair(
        _framed(before, seen[0]), _framed(after, seen[1]), there, back, np.empty(blocks, np.int64),
        np.full(blocks, _NONE, np.int64), np.empty((2, height, width), np.float32), steps,
    )  # fmt: skip
    _count(there, back, F32(step_px), steps, made.counts)
    return made


def at(between: Pair, k: int) -> NDArray[np.uint16]:
    """What is seen at the fraction k / n, 0 < k < n, rounded, [y, x] uint16; fastest in rising order."""
    out = np.empty(between.lights.shape[1:], np.uint16)
    _at(*between, k, out)
    return out


def shifted(flow: Floats) -> Floats:
    """Where a flow [y, x, (x, y)] takes each pixel, px."""
    out = np.empty_like(flow)
    _shifted(flow, out)
    return out


def meet(flow: Floats, returned: Floats, there: Floats) -> P:
    """Where going there and back again ends close to the start, inside the picture, [y, x] bool.

    |F + B|^2 <= 0.01 (|F|^2 + |B|^2) + 0.5 (Sundaram, Brox & Keutzer, ECCV 2010).

    Args:
        flow: F [y, x, (x, y)] float32, px.
        returned: B at the places that F leads to.
        there: those places.
    """
    out = np.empty(flow.shape[:2], np.bool_)
    _meet(flow, returned, there, out)
    return out


def _framed(picture: NDArray[np.uint16], seen: P) -> Floats:
    height, width = picture.shape
    out = np.empty((height + 2 * _MARGIN) * (width + 2 * _MARGIN) * 2, np.float32)
    _frame(picture, seen, out)
    return out


@kernel
def _frame(picture: NDArray[np.uint16], seen: P, out: Floats) -> None:
    height, width = picture.shape
    k = 0
    for y in range(-_MARGIN, height + _MARGIN):
        row = min(max(y, 0), height - 1)
        for x in range(-_MARGIN, width + _MARGIN):
            column = min(max(x, 0), width - 1)
            out[k] = np.float32(picture[row, column])
            out[k + 1] = np.float32(1) if seen[row, column] else np.float32(0)
            k += 2


@kernel
def _count(there: Floats, back: Floats, step: Any, steps: int, counts: I64) -> None:
    height, width = there.shape[:2]
    for row in range(counts.shape[0]):
        for column in range(counts.shape[1]):
            far = np.float32(0)
            for y in range(row * SIDE, min((row + 1) * SIDE, height)):
                for x in range(column * SIDE, min((column + 1) * SIDE, width)):
                    f = there[y, x, 0] * there[y, x, 0] + there[y, x, 1] * there[y, x, 1]
                    b = back[y, x, 0] * back[y, x, 0] + back[y, x, 1] * back[y, x, 1]
                    far = max(far, f, b)
            needed = np.ceil(np.sqrt(far) / step) if step > 0 else np.float32(np.inf)
            counts[row, column] = max(np.int64(needed), 1) if needed < steps else steps


@kernel
def _at(
    first: Floats, second: Floats, there: Floats, back: Floats, counts: I64, begun: I64, lights: Floats, steps: int,
    k: int, out: NDArray[np.uint16],
) -> None:  # fmt: skip
    height, width = out.shape
    for row in range(counts.shape[0]):
        for column in range(counts.shape[1]):
            c = counts[row, column]
            j = k * c // steps
            top, bottom = row * SIDE, min((row + 1) * SIDE, height)
            left, right = column * SIDE, min((column + 1) * SIDE, width)
            if j != begun[row, column]:
                if j == begun[row, column] + 1:
                    for y in range(top, bottom):
                        for x in range(left, right):
                            lights[0, y, x] = lights[1, y, x]
                else:
                    _warp(first, second, there, back, top, bottom, left, right, j, c, lights[0])
                _warp(first, second, there, back, top, bottom, left, right, j + 1, c, lights[1])
                begun[row, column] = j
            f = np.float32((k * c - j * steps) / steps)
            for y in range(top, bottom):
                for x in range(left, right):
                    light = lights[0, y, x]
                    out[y, x] = np.uint16(np.rint(light + f * (lights[1, y, x] - light)))


@kernel
def _warp(
    first: Floats, second: Floats, there: Floats, back: Floats, top: int, bottom: int, left: int, right: int, j: int,
    c: int, light: Floats,
) -> None:  # fmt: skip
    """The light of a block at the fraction j / c."""
    height, width = light.shape
    stride = 2 * (width + 2 * _MARGIN)
    part, rest = j / c, 1 - j / c
    ss, rr, rs = np.float32(part * part), np.float32(rest * rest), np.float32(part * rest)
    s, r = np.float32(part), np.float32(rest)
    for y in range(top, bottom):
        for x in range(left, right):
            if part <= 0 or rest <= 0:
                source = first if j == 0 else second
                light[y, x] = source[(y + _MARGIN) * stride + 2 * (x + _MARGIN)]
                continue
            fx, fy, bx, by = there[y, x, 0], there[y, x, 1], back[y, x, 0], back[y, x, 1]
            px, py = np.float32(x), np.float32(y)
            one, seen_one = _sample(
                first, stride, px + (ss * bx - rs * fx), py + (ss * by - rs * fy), width, height
            )
            other, seen_other = _sample(
                second, stride, px + (rr * fx - rs * bx), py + (rr * fy - rs * by), width, height
            )
            weight_other = s * _within(seen_one, np.float32(0.01), np.float32(1))
            weight_one = r * _within(seen_other, np.float32(0.01), np.float32(1))
            mixed = (weight_one * one + weight_other * other) / (weight_one + weight_other)
            light[y, x] = _within(mixed, np.float32(0), np.float32(65535))


@inlined
def _sample(picture: Floats, stride: int, x: Any, y: Any, width: int, height: int) -> tuple[Any, Any]:
    """(I, V) at a place; beyond the edge is what is seen there."""
    x = _within(x, np.float32(-2), np.float32(width + 1)) + np.float32(_MARGIN)
    y = _within(y, np.float32(-2), np.float32(height + 1)) + np.float32(_MARGIN)
    column, row = np.int64(x), np.int64(y)
    return cubic(
        picture, (row - 1) * stride + 2 * (column - 1), stride, x - np.float32(column), y - np.float32(row)
    )


@inlined
def _within(value: Any, least: Any, most: Any) -> Any:
    """``value``, at least and at most; where it is no number, the least."""
    return (value if value < most else most) if value > least else least


@kernel
def _shifted(flow: Floats, out: Floats) -> None:
    for y in range(flow.shape[0]):
        for x in range(flow.shape[1]):
            out[y, x, 0] = np.float32(x) + flow[y, x, 0]
            out[y, x, 1] = np.float32(y) + flow[y, x, 1]


@kernel
def _meet(flow: Floats, returned: Floats, there: Floats, out: P) -> None:
    height, width = out.shape
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    zero, share, least = np.float32(0), np.float32(0.01), np.float32(0.5)
    for y in range(height):
        for x in range(width):
            fx, fy, bx, by = flow[y, x, 0], flow[y, x, 1], returned[y, x, 0], returned[y, x, 1]
            miss = (fx + bx) * (fx + bx) + (fy + by) * (fy + by)
            allowed = share * ((fx * fx + fy * fy) + (bx * bx + by * by)) + least
            tx, ty = there[y, x, 0], there[y, x, 1]
            out[y, x] = (miss <= allowed) & (tx >= zero) & (ty >= zero) & (tx <= right) & (ty <= bottom)
