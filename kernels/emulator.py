"""The DVS pixel: frames in, events out (v2e's model).

Hu, Liu & Delbruck, "v2e: From Video Frames to Realistic DVS Events", CVPR Workshops 2021. Per pixel
and frame, with I the intensity 0..255 and dt the time since the last frame:

    L     = I ln(20)/20 for I <= 20 else ln I          (rounded to 1e-8, kept as float32)
    lp    = (1 - eps) lp + eps L,  eps = min(1, (I + 20)/275 dt 2 pi cutoff)     (or lp = L)
    base -= dt leak theta_on
    n     = floor(|lp - base| / theta)                 (ON above base, OFF below)
    base += n_on theta_on - n_off theta_off            (of the events that the refractory period kept)

This file holds the part without random draws. Exact agreement with v2e needs its precisions: base in
float32 when there is no low-pass and float64 otherwise, n theta rounded to float32 before it is
added, and torch's floor-division.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import F32, F64, I64, XY, P, T

Base = NDArray[np.floating[Any]]

LINEAR_BELOW = 20.0
"""Intensity up to which the response is linear, so that the logarithm of zero is never taken."""


def log_intensity(intensity: F64) -> F32:
    """The pixel's response to ``intensity`` (0..255): linear below 20, logarithmic above."""
    i = np.asarray(intensity, np.float64)
    with np.errstate(divide="ignore"):
        log = np.where(i <= LINEAR_BELOW, i * (math.log(LINEAR_BELOW) / LINEAR_BELOW), np.log(i))
    return (np.rint(log * 1e8) / 1e8).astype(np.float32)


LOG_TABLE: F32 = log_intensity(np.arange(256, dtype=np.float64))
"""The response to each 8-bit intensity."""


def low_pass(
    lp: F64,
    response: F32,
    intensity: F64,
    dt_s: float,
    cutoff_hz: float,
) -> None:
    """Move the photoreceptor's state ``lp`` [height, width] towards ``response``, in place."""
    eps = np.minimum(1.0, (intensity + 20.0) / 275.0 * (dt_s * 2.0 * math.pi * cutoff_hz))
    lp[:] = (1.0 - eps) * lp + eps * response


def count_changes(
    lp: Base,
    base: Base,
    leak: F32,
    theta_on: F32,
    theta_off: F32,
    counts: NDArray[np.int32],
) -> tuple[int, int]:
    """Let ``base`` leak, then count the thresholds that ``lp`` has crossed since its last event.

    Args:
        lp: filtered log intensity [height, width].
        base: the level of each pixel's last event, updated in place.
        leak: what each pixel's base loses over this frame.
        theta_on: ON thresholds per pixel, log units.
        theta_off: OFF thresholds per pixel, log units.
        counts: written: n > 0 ON events, n < 0 OFF events.

    Returns:
        (events in all, the largest count of one pixel).
    """
    total, largest = _count_changes(lp, base, leak, theta_on, theta_off, counts)
    return int(total), int(largest)


def emit_in_slots(
    base: Base,
    theta_on: F32,
    theta_off: F32,
    counts: NDArray[np.int32],
    total: int,
    slot_s: F32,
    slot_us: I64,
    last_s: F32,
    refractory_s: float,
) -> tuple[T, XY, XY, P]:
    """v2e's own timing: the k-th event of every pixel at the frame's k-th slot.

    The refractory period is applied in v2e's float32 seconds; ``refractory_s`` <= 0 leaves it out.

    Args:
        base: moved by the events that are kept, in place.
        theta_on: as for :func:`count_changes`; so are ``theta_off`` and ``counts``.
        theta_off: see above.
        counts: see above.
        total: events at most.
        slot_s: slot times in float32 seconds.
        slot_us: the same in int64 us.
        last_s: time of each pixel's last event, updated in place where the period is applied.
        refractory_s: the refractory period, s.

    Returns:
        Columns t (us), x, y, p, pixel by pixel.
    """
    columns = _columns(total)
    n = _emit_in_slots(
        base, theta_on, theta_off, counts, slot_s, slot_us, last_s, np.float32(refractory_s), *columns
    )
    t, x, y, p = columns
    return t[:n], x[:n], y[:n], p[:n]


def emit_interpolated(
    lp: Base,
    lp_before: Base,
    base: Base,
    leak: F32,
    theta_on: F32,
    theta_off: F32,
    counts: NDArray[np.int32],
    total: int,
    t0_us: float,
    dt_us: float,
    last_us: F64,
    refractory_us: float,
) -> tuple[T, XY, XY, P]:
    """Each event where the straight line between two frames crosses its threshold.

    With d0 the difference to ``base`` at the last frame (before the leak) and d1 now, the k-th event
    lies at t0 + dt clamp((k theta - d0) / (d1 - d0), 0, 1), rounded to the nearest us.

    Args:
        lp: filtered log intensity now.
        lp_before: the same at the last frame.
        base: moved by the events that are kept, in place; holds the level after the leak.
        leak: what was taken from base over this frame.
        theta_on: as for :func:`count_changes`; so are ``theta_off`` and ``counts``.
        theta_off: see above.
        counts: see above.
        total: events at most.
        t0_us: time of the last frame.
        dt_us: time since then.
        last_us: time of each pixel's last event, updated in place.
        refractory_us: the refractory period; <= 0 for none.

    Returns:
        Columns t (us), x, y, p, pixel by pixel.
    """
    columns = _columns(total)
    n = _emit_interpolated(
        lp, lp_before, base, leak, theta_on, theta_off, counts, t0_us, dt_us, last_us, refractory_us, *columns
    )
    t, x, y, p = columns
    return t[:n], x[:n], y[:n], p[:n]


def _columns(n: int) -> tuple[T, XY, XY, P]:
    return np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.bool_)


@kernel
def _floor_divide(a: float, b: float) -> int:
    """floor(a / b) for a >= 0, b > 0 as torch computes it: from the exact remainder, then rounded."""
    quotient = (a - np.fmod(a, b)) / b
    floored = np.floor(quotient)
    if quotient - floored > 0.5:
        return int(floored) + 1
    return int(floored)


@kernel
def _count_changes(
    lp: Base,
    base: Base,
    leak: F32,
    theta_on: F32,
    theta_off: F32,
    counts: NDArray[np.int32],
) -> tuple[int, int]:
    total, largest = 0, 0
    height, width = base.shape
    for y in range(height):
        for x in range(width):
            base[y, x] -= leak[y, x]
            diff = lp[y, x] - base[y, x]
            n = 0
            # Only a pixel that may have crossed pays for the division.
            if diff >= theta_on[y, x]:
                n = _floor_divide(diff, theta_on[y, x])
            elif -diff >= theta_off[y, x]:
                n = -_floor_divide(-diff, theta_off[y, x])
            counts[y, x] = n
            total += abs(n)
            largest = max(largest, abs(n))
    return total, largest


@kernel
def _emit_in_slots(
    base: Base,
    theta_on: F32,
    theta_off: F32,
    counts: NDArray[np.int32],
    slot_s: F32,
    slot_us: I64,
    last_s: F32,
    refractory_s: float,
    t: T,
    xs: XY,
    ys: XY,
    p: P,
) -> int:
    i = 0
    height, width = base.shape
    for y in range(height):
        for x in range(width):
            n = counts[y, x]
            kept = 0
            for k in range(abs(n)):
                if refractory_s > 0:
                    if slot_s[k] - last_s[y, x] <= refractory_s:
                        continue
                    last_s[y, x] = slot_s[k]
                t[i], xs[i], ys[i], p[i] = slot_us[k], x, y, n > 0
                i += 1
                kept += 1
            if n > 0:
                base[y, x] += np.float32(kept) * theta_on[y, x]
            elif n < 0:
                base[y, x] -= np.float32(kept) * theta_off[y, x]
    return i


@kernel
def _emit_interpolated(
    lp: Base,
    lp_before: Base,
    base: Base,
    leak: F32,
    theta_on: F32,
    theta_off: F32,
    counts: NDArray[np.int32],
    t0_us: float,
    dt_us: float,
    last_us: F64,
    refractory_us: float,
    t: T,
    xs: XY,
    ys: XY,
    p: P,
) -> int:
    i = 0
    height, width = base.shape
    for y in range(height):
        for x in range(width):
            n = counts[y, x]
            if n == 0:
                continue
            sign = 1.0 if n > 0 else -1.0
            theta = np.float32(theta_on[y, x] if n > 0 else theta_off[y, x])
            now = sign * (np.float64(lp[y, x]) - np.float64(base[y, x]))
            before = sign * (np.float64(lp_before[y, x]) - (np.float64(base[y, x]) + np.float64(leak[y, x])))
            kept = 0
            for k in range(1, abs(n) + 1):
                phase = 1.0 if now == before else (k * np.float64(theta) - before) / (now - before)
                time = t0_us + dt_us * min(1.0, max(0.0, phase))
                if refractory_us > 0:
                    if time - last_us[y, x] <= refractory_us:
                        continue
                    last_us[y, x] = time
                t[i], xs[i], ys[i], p[i] = np.int64(np.rint(time)), x, y, n > 0
                i += 1
                kept += 1
            base[y, x] += np.float32(sign) * (np.float32(kept) * theta)
    return i
