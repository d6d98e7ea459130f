"""The DVS pixel: frames in, events out (v2e's model, whole). Here is its comparator; what it compares, the light
and its noise, is in :mod:`kernels.video.photoreceptor`.

Hu, Liu & Delbruck, "v2e: From Video Frames to Realistic DVS Events", CVPR Workshops 2021. Per pixel
and frame, with I the intensity 0..255 and dt the time since the last frame:

    L     = I ln(20)/20 for I <= 20 else ln I          (rounded to 1e-8, kept as float32)
    lp    = (1 - eps) lp + eps L,  eps = min(1, (I + 20)/275 dt 2 pi cutoff)     (or lp = L)
    base -= dt leak m (1 - jitter z) theta_on          (m per pixel, z normal)
    n     = floor(|lp + noise - base| / theta)         (ON above base, OFF below)
    base += n_on theta_on - n_off theta_off            (of the events that the refractory period kept)
    shot    p = R/2 dt (1 - 0.75 (I + 20)/275); ON if u > 1 - p theta_nom/theta_on, OFF if
            u < p theta_nom/theta_off; base = lp there

Draws are functions of (seed, frame, pixel), see :mod:`kernels.random`. Exact agreement with v2e needs its
precisions: base in float32 when there is no low-pass and float64 otherwise, n theta rounded to float32
before it is added, and torch's floor-division.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import F32, F64, I64, U64, XY, P, T
from kernels.random import as_uniform, bits_at, key_of

Base = NDArray[np.floating[Any]]
I32 = NDArray[np.int32]

_SHOT = 12
"""What its draws are for: no two purposes share one."""
_MOST_BUCKETS = 2**21
_ROOM = 4096


def count_changes(lp: Base, base: Base, theta_on: F32, theta_off: F32, counts: I32) -> tuple[int, int]:
    """Count the thresholds that ``lp`` has crossed since each pixel's last event.

    Args:
        lp: filtered log intensity [height, width].
        base: the level of each pixel's last event.
        theta_on: ON thresholds per pixel, log units.
        theta_off: OFF thresholds per pixel, log units.
        counts: written: n > 0 ON events, n < 0 OFF events.

    Returns:
        (events in all, the largest count of one pixel).
    """
    total, largest = _count_changes(lp, base, theta_on, theta_off, counts)
    return int(total), int(largest)


def emit_in_slots(
    base: Base, theta_on: F32, theta_off: F32, counts: I32, total: int,
    slot_s: F32, slot_us: I64, last_s: F32, refractory_s: float,
) -> tuple[T, XY, XY, P]:  # fmt: skip
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
        Columns t (us), x, y, p, slot by slot, each in raster order.
    """
    columns = _columns(total)
    # Counted by slot, an event's place is known at once: nothing is sorted afterwards.
    starts = np.zeros(len(slot_us) + 1, np.int64)
    n = _emit_in_slots(
        base, theta_on, theta_off, counts, slot_s, slot_us, last_s, np.float32(refractory_s), starts, *columns
    )
    t, x, y, p = columns
    return t[:n], x[:n], y[:n], p[:n]


@dataclass
class Scratch:
    """Memory that one frame after the other uses."""

    rows: U64 = field(default_factory=lambda: np.empty(_ROOM, np.uint64))
    buckets: I32 = field(default_factory=lambda: np.empty(0, np.int32))


@dataclass
class Frame:
    """Events of one frame as they are found: packed, with a count for each us.

    Attributes:
        t0_us: time of the last frame.
        dt_us: time since then.
        scratch: memory to use again: packed events (us since ``first_us`` << 32 | p << 31 | y << 16 | x), of
            which the first n are taken; and how many fall into each us.
        n: how many there are.
    """

    t0_us: float
    dt_us: float
    scratch: Scratch
    n: int = 0

    def __post_init__(self) -> None:
        self.first_us = math.floor(self.t0_us)
        n = min(math.ceil(self.dt_us) + 3, _MOST_BUCKETS)
        if len(self.scratch.buckets) < n:
            self.scratch.buckets = np.empty(n, np.int32)
        self.buckets = self.scratch.buckets[:n]
        self.buckets[:] = 0

    def collect(self, find: Callable[[int, U64, int], tuple[int, int]], pixels: int) -> None:
        """Call ``find(first pixel, rows, n)`` until all pixels are done; it stops where rows are full."""
        done = 0
        while True:
            done, n = find(done, self.scratch.rows, self.n)
            done, self.n = int(done), int(n)
            if done >= pixels:
                return
            more = np.empty(max(self.n, _ROOM), np.uint64)
            self.scratch.rows = np.concatenate([self.scratch.rows[: self.n], more])

    def events(self) -> tuple[T, XY, XY, P]:
        """Columns t (us), x, y, p in order of time; ties as they were found."""
        columns = _columns(self.n)
        rows, buckets = self.scratch.rows[: self.n], self.buckets
        if len(buckets) == _MOST_BUCKETS:
            rows = rows[np.argsort(rows >> np.uint64(32), kind="stable")]
            buckets = np.zeros(0, np.int32)
        _scatter(rows, buckets, self.first_us, *columns)
        return columns


def emit_interpolated(
    found: Frame, lp: Base, lp_before: Base, base: Base, theta_on: F32, theta_off: F32, leaked: F32,
    last_us: F64, refractory_us: float,
) -> None:  # fmt: skip
    """Each event where the straight line between two frames crosses its threshold.

    With d0 the difference to ``base`` at the last frame (before the leak) and d1 now, the k-th event
    lies at t0 + dt clamp((k theta - d0) / (d1 - d0), 0, 1), rounded to the nearest us, ties to even.

    Args:
        found: where they go; holds the times of the frame.
        lp: filtered log intensity now.
        lp_before: the same at the last frame.
        base: moved by the events that are kept, in place; holds the level after the leak.
        theta_on: ON thresholds.
        theta_off: OFF thresholds.
        leaked: what the leak took from ``base`` over this frame, or of size 0 for nothing.
        last_us: time of each pixel's last event, updated in place where there is a period.
        refractory_us: the refractory period; <= 0 for none.
    """
    found.collect(
        lambda pixel, rows, n: _emit_interpolated(
            lp, lp_before, base, theta_on, theta_off, leaked, found.t0_us, found.dt_us, found.first_us,
            last_us, refractory_us, pixel, rows, n, found.buckets,
        ),
        lp.size,
    )  # fmt: skip


def emit_shot_noise(
    found: Frame, lp: Base, base: Base, intensity: NDArray[Any], per_unit: float,
    ratio_on: F32, ratio_off: F32, rate_hz: float, at_end: bool, seed: int, frame: int,
) -> None:  # fmt: skip
    """Shot-noise events of one frame: at most one a pixel, decided by one uniform draw.

    Args:
        found: where they go; holds the times of the frame.
        lp: filtered log intensity.
        base: set to ``lp`` where a pixel fires.
        intensity: of the frame; ``per_unit`` of it make one of 0..255.
        per_unit: see above.
        ratio_on: nominal over actual ON threshold: lower thresholds fire more.
        ratio_off: the same for OFF.
        rate_hz: R, events of both polarities a second in a dark pixel.
        at_end: whether all are stamped with this frame's time, as v2e does; else each where its draw,
            which is uniform among those that fire, puts it between the frames.
        seed: of the draw.
        frame: index of this frame.
    """
    most = float(max(ratio_on.max(), ratio_off.max()))
    found.collect(
        lambda pixel, rows, n: _emit_shot_noise(
            lp, base, intensity, per_unit, ratio_on, ratio_off, rate_hz / 2 * found.dt_us * 1e-6, most,
            found.t0_us, found.dt_us, found.first_us, at_end, seed, frame, pixel, rows, n, found.buckets,
        ),
        lp.size,
    )  # fmt: skip


def _columns(n: int) -> tuple[T, XY, XY, P]:
    return np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.bool_)


@kernel
def _floor_divide(a: float, b: float) -> int:
    """floor(a / b) for a >= 0, b > 0, exact as torch's: a quotient that was rounded up to an integer is less."""
    n = int(a / b)
    return n - 1 if np.float64(n) * np.float64(b) > np.float64(a) else n


@kernel
def _crossings(diff: float, theta_on: float, theta_off: float) -> int:
    """Signed count of thresholds in ``diff``; only a pixel that crossed one pays for the division."""
    if diff >= theta_on:
        return _floor_divide(diff, theta_on)
    if -diff >= theta_off:
        return -_floor_divide(-diff, theta_off)
    return 0


@kernel
def _count_changes(lp: Base, base: Base, theta_on: F32, theta_off: F32, counts: I32) -> tuple[int, int]:
    total, largest = 0, 0
    height, width = base.shape
    for y in range(height):
        for x in range(width):
            n = _crossings(lp[y, x] - base[y, x], theta_on[y, x], theta_off[y, x])
            counts[y, x] = n
            total += abs(n)
            largest = max(largest, abs(n))
    return total, largest


@kernel
def _emit_in_slots(
    base: Base, theta_on: F32, theta_off: F32, counts: I32, slot_s: F32, slot_us: I64, last_s: F32,
    refractory_s: float, starts: I64, t: T, xs: XY, ys: XY, p: P,
) -> int:  # fmt: skip
    height, width = base.shape
    for y in range(height):
        for x in range(width):
            last = last_s[y, x]
            for k in range(abs(counts[y, x])):
                if refractory_s > 0:
                    if slot_s[k] - last <= refractory_s:
                        continue
                    last = slot_s[k]
                starts[k + 1] += 1
    for k in range(1, starts.size):
        starts[k] += starts[k - 1]
    for y in range(height):
        for x in range(width):
            n = counts[y, x]
            kept = 0
            for k in range(abs(n)):
                if refractory_s > 0:
                    if slot_s[k] - last_s[y, x] <= refractory_s:
                        continue
                    last_s[y, x] = slot_s[k]
                i = starts[k]
                t[i], xs[i], ys[i], p[i] = slot_us[k], x, y, n > 0
                starts[k] += 1
                kept += 1
            if n > 0:
                base[y, x] += np.float32(kept) * theta_on[y, x]
            elif n < 0:
                base[y, x] -= np.float32(kept) * theta_off[y, x]
    return starts[-1]


@kernel
def _emit_interpolated(
    lp: Base, lp_before: Base, base: Base, theta_on: F32, theta_off: F32, leaked: F32,
    t0_us: float, dt_us: float, first_us: int, last_us: F64, refractory_us: float,
    pixel: int, rows: U64, i: int, buckets: I32,
) -> tuple[int, int]:  # fmt: skip
    """Packed events (us since ``first_us``, y and polarity, x) and how many fall into each us.

    Starts at ``pixel`` and stops before the first whose events do not fit.
    """
    height, width = base.shape
    most = buckets.size - 1
    active = np.empty(width, np.uint16)
    for y in range(pixel // width, height):
        first = pixel % width if y == pixel // width else 0
        # Which pixel fires is anybody's guess: they are listed without a branch, then worked through.
        m = np.uint64(0)
        for x in range(first, width):
            diff = lp[y, x] - base[y, x]
            active[m] = x
            m += np.uint64((diff >= theta_on[y, x]) | (-diff >= theta_off[y, x]))
        for j in range(m):
            x = np.int64(active[j])
            diff = lp[y, x] - base[y, x]
            n = _crossings(diff, theta_on[y, x], theta_off[y, x])
            if i + abs(n) > rows.size:
                return y * width + x, i
            sign = 1.0 if n > 0 else -1.0
            theta = theta_on[y, x] if n > 0 else theta_off[y, x]
            now = sign * np.float64(diff)
            before = sign * (np.float64(lp_before[y, x]) - np.float64(base[y, x]))
            if leaked.size:
                before -= sign * np.float64(leaked[y, x])
            # A line that does not rise ends where its event is.
            us_per_unit, start = 0.0, dt_us
            # Levels are compared, as differences from the base are rounded apart.
            if now != before and (lp[y, x] != lp_before[y, x] or leaked.size > 0):
                us_per_unit = dt_us / (now - before)
                start = -before * us_per_unit
            word = np.uint64(x) | (np.uint64(y) << np.uint64(16)) | (np.uint64(n > 0) << np.uint64(31))
            kept = 0
            for k in range(1, abs(n) + 1):
                time = t0_us + min(dt_us, max(0.0, start + k * np.float64(theta) * us_per_unit))
                if refractory_us > 0:
                    if time - last_us[y, x] <= refractory_us:
                        continue
                    last_us[y, x] = time
                since = np.int64(np.rint(time)) - first_us
                rows[np.uint64(i)] = (np.uint64(since) << np.uint64(32)) | word
                buckets[np.uint64(min(since + 1, most))] += 1
                i += 1
                kept += 1
            base[y, x] += np.float32(sign) * (np.float32(kept) * theta)
    return height * width, i


@kernel
def _scatter(rows: U64, buckets: I32, first_us: int, t: T, x: XY, y: XY, p: P) -> None:
    """Unpack rows, each to the next place of its us (or, without buckets, in their order)."""
    for k in range(1, buckets.size):
        buckets[k] += buckets[k - 1]
    for i in range(rows.size):
        row = rows[i]
        since = row >> np.uint64(32)
        at = np.uint64(i)
        if buckets.size:
            at = np.uint64(buckets[since])
            buckets[since] += 1
        t[at] = first_us + np.int64(since)
        x[at] = np.uint16(row & np.uint64(0xFFFF))
        y[at] = np.uint16((row >> np.uint64(16)) & np.uint64(0x7FFF))
        p[at] = (row & np.uint64(0x80000000)) != np.uint64(0)


@kernel
def _emit_shot_noise(
    lp: Base, base: Base, intensity: NDArray[Any], per_unit: float, ratio_on: F32, ratio_off: F32,
    half: float, most: float, t0_us: float, dt_us: float, first_us: int, at_end: bool, seed: int, frame: int,
    pixel: int, rows: U64, i: int, buckets: I32,
) -> tuple[int, int]:  # fmt: skip
    width = lp.shape[1]
    key = key_of(seed, _SHOT, frame)
    surely, last = half * most, buckets.size - 1
    for at in range(pixel, lp.size):
        u = as_uniform(bits_at(key, at))
        if (u >= surely) & (u <= 1.0 - surely):
            continue
        y, x = at // width, at % width
        rate = half * (1.0 - 0.75 * (intensity[y, x] / per_unit + 20.0) / 275.0)
        on, off = rate * ratio_on[y, x], rate * ratio_off[y, x]
        if u > 1.0 - on:
            phase = (1.0 - u) / on
        elif u < off:
            phase = u / off
        else:
            continue
        if i == rows.size:
            return at, i
        since = np.int64(np.rint(t0_us + dt_us * (1.0 if at_end else phase))) - first_us
        word = np.uint64(x) | (np.uint64(y) << np.uint64(16)) | (np.uint64(u > 0.5) << np.uint64(31))
        rows[i] = (np.uint64(since) << np.uint64(32)) | word
        buckets[min(since + 1, last)] += 1
        i += 1
        base[y, x] = lp[y, x]
    return lp.size, i
