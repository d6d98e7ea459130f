"""Between two pictures: where a pixel of the time between lies in each, and what is seen there.

With the flow F from the first to the second and B back, at the fraction s of the time between (Jiang et al., "Super
SloMo", CVPR 2018), a pixel at z lies

    in the first at   z + s^2 B(z) - s (1 - s) F(z),     in the second at   z + (1 - s)^2 F(z) - s (1 - s) B(z)

and with the light I and the share V that is seen in the other picture, both sampled there,

    light(z) = ((1 - s) V2 I1 + s V1 I2) / ((1 - s) V2 + s V1),   V within 0.01 .. 1

All in float32, in this order of operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import P

F32 = np.float32
Floats = NDArray[np.float32]


def places(there: Floats, back: Floats, s: float) -> tuple[Floats, Floats]:
    """Where the pixels of the time s lie in the first picture and in the second, px, [y, x, (x, y)] float32 each.

    Args:
        there: flow from the first picture to the second, px, [y, x, (x, y)] float32.
        back: the other way round.
        s: within 0 .. 1.
    """
    first, second = np.empty_like(there), np.empty_like(there)
    _places(there, back, F32(s * s), F32((1 - s) * (1 - s)), F32(s * (1 - s)), first, second)
    return first, second


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


def merge(one: Floats, other: Floats, s: float) -> NDArray[np.uint16]:
    """The light of the time s, rounded, [y, x] uint16.

    Args:
        one: I and V of the first picture at its places, [y, x, (I, V)] float32.
        other: those of the second.
        s: within 0 .. 1.
    """
    out = np.empty(one.shape[:2], np.uint16)
    _merge(one, other, F32(s), F32(1 - s), out)
    return out


@kernel
def _places(there: Floats, back: Floats, ss: Any, rr: Any, rs: Any, first: Floats, second: Floats) -> None:
    for y in range(there.shape[0]):
        for x in range(there.shape[1]):
            for axis in range(2):
                at = np.float32(x) if axis == 0 else np.float32(y)
                f, b = there[y, x, axis], back[y, x, axis]
                first[y, x, axis] = at + (ss * b - rs * f)
                second[y, x, axis] = at + (rr * f - rs * b)


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


@kernel
def _merge(one: Floats, other: Floats, s: Any, r: Any, out: NDArray[np.uint16]) -> None:
    least, most = np.float32(0.01), np.float32(1)
    dark, bright = np.float32(0), np.float32(65535)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            weight_other = s * min(max(one[y, x, 1], least), most)
            weight_one = r * min(max(other[y, x, 1], least), most)
            light = (weight_one * one[y, x, 0] + weight_other * other[y, x, 0]) / (weight_one + weight_other)
            out[y, x] = np.uint16(min(max(np.rint(light), dark), bright))
