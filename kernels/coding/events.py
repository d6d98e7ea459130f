"""Order, lateness and packing of events.

An event is (t, x, y, p): int64 us, uint16 column, uint16 row (growing downwards), bool (true = ON).
The wire's ``aer64`` row is u32 t - t_us, u16 x, u16 y + 32768 p, little-endian: one uint64 with t in
the low half, x in bits 32-47, y in bits 48-62 and p in bit 63.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.columns import U64, XY, P, T

_BLOCK = 1024

NO_TIME = -(2**63)
"""A running maximum that has seen nothing yet."""


def is_sorted(t: T) -> bool:
    """Whether ``t`` [n] never falls."""
    return first_fall(t) < 0


def first_fall(t: T) -> int:
    """Index of the first element of ``t`` [n] that is smaller than the one before it, or -1."""
    return _first_fall(t)


def survey(t: T, x: XY, y: XY) -> tuple[int, int, int, int]:
    """(smallest t, largest t, largest x, largest y) of events [n > 0], in one pass."""
    lowest, highest, right, bottom = _survey(t, x, y)
    return int(lowest), int(highest), int(right), int(bottom)


def admit(t: T, running_max: int, reorder_us: int, max_gap_us: int) -> tuple[P, int, int]:
    """Judge events one by one in arrival order, up to the first gap.

    An event is late iff t < running_max - reorder_us, where running_max is the largest time seen
    before it; a step of more than ``max_gap_us`` beyond running_max ends the run.

    Args:
        t: arrival-ordered times [n], us.
        running_max: largest time seen so far, or ``NO_TIME``.
        reorder_us: how far behind running_max an event may arrive.
        max_gap_us: the largest step that is not a gap.

    Returns:
        ``(kept [m], running_max, m)``: m = n, or the index of the first event behind a gap.
    """
    if len(t):
        first, last = int(t[0]), int(t[-1])
        before = first if running_max == NO_TIME else running_max
        if before <= first and last - before <= max_gap_us and first_fall(t) < 0:
            return np.ones(len(t), np.bool_), last, len(t)  # in order and without a gap, as nearly always
    kept = np.empty(len(t), np.bool_)
    m, running_max = _admit(t, running_max, reorder_us, max_gap_us, kept)
    return kept[:m], int(running_max), int(m)


def inside(x: XY, y: XY, width: int, height: int) -> P:
    """Which of the events lie on a ``width`` x ``height`` sensor, [n] bool."""
    kept = np.empty(len(x), np.bool_)
    _inside(x, y, width, height, kept)
    return kept


def settle(t: T, x: XY, y: XY, p: P) -> bool:
    """Sort events that are nearly in order by time, in place; ties stay as they are.

    Insertion: each event is moved back past the later ones before it. Gives up where that would take more
    than 64 moves an event on average.

    Returns:
        Whether they are in order now; if not, they hold the same events in some order between, and ties may
        have moved past none but later ones.
    """
    return bool(_settle(t, x, y, p, 64 * t.size + 1024))


def unpack_aer64(rows: U64, t_us: int) -> tuple[T, XY, XY, P]:
    """Columns of ``aer64`` rows [n] whose times are relative to ``t_us``."""
    n = len(rows)
    t, x, y, p = np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.bool_)
    _unpack_aer64(_read_only(rows), t_us, t, x, y, p)
    return t, x, y, p


def unpack_frames(frames: list[tuple[int, U64]]) -> tuple[T, XY, XY, P]:
    """Columns of several frames (t_us, ``aer64`` rows [n]), one after the other."""
    total = sum(len(rows) for _, rows in frames)
    t, x = np.empty(total, np.int64), np.empty(total, np.uint16)
    y, p = np.empty(total, np.uint16), np.empty(total, np.bool_)
    at = 0
    for t_us, rows in frames:
        to = at + len(rows)
        _unpack_aer64(_read_only(rows), t_us, t[at:to], x[at:to], y[at:to], p[at:to])
        at = to
    return t, x, y, p


def first_fall_aer64(rows: U64) -> int | None:
    """Index of the first ``aer64`` row whose time is below the one before it, or None."""
    at = int(_first_fall_aer64(_read_only(rows)))
    return None if at < 0 else at


def pack_aer64(t: T, x: XY, y: XY, p: P, t_us: int) -> U64:
    """``aer64`` rows [n] of events; times must lie within 2^32 us behind ``t_us``.

    Raises:
        ValueError: a time that does not fit, or y >= 32768.
    """
    if len(t) and (int(t.min()) < t_us or int(t.max()) - t_us >= 2**32):
        raise ValueError(f"aer64 holds times from t_us={t_us} to t_us + 2^32 - 1 us")
    if len(y) and int(y.max()) >= 32768:
        raise ValueError("aer64 holds rows y < 32768")
    rows = np.empty(len(t), np.uint64)
    _pack_aer64(t, x, y, p, t_us, rows)
    return rows


def _read_only(rows: U64) -> U64:
    """Rows as they lie in a frame, which nobody may write to: kernels are compiled for that alone."""
    if rows.flags.writeable:
        rows = rows.view()
        rows.flags.writeable = False
    return rows if rows.flags.aligned else _read_only(rows.copy())


@kernel
def _first_fall(t: T) -> int:
    for start in range(1, t.size, _BLOCK):
        before, now = t[start - 1 : start - 1 + _BLOCK], t[start : start + _BLOCK]
        falls = 0  # counted, not left at: a loop without a way out is done with vectors
        for i in range(now.size):
            falls += now[i] < before[i]
        if falls:
            for i in range(now.size):
                if now[i] < before[i]:
                    return start + i
    return -1


@kernel
def _first_fall_aer64(rows: U64) -> int:
    low = np.uint64(0xFFFFFFFF)
    for start in range(1, rows.size, _BLOCK):
        before, now = rows[start - 1 : start - 1 + _BLOCK], rows[start : start + _BLOCK]
        falls = 0
        for i in range(now.size):
            falls += (now[i] & low) < (before[i] & low)
        if falls:
            for i in range(now.size):
                if (now[i] & low) < (before[i] & low):
                    return start + i
    return -1


@kernel
def _survey(t: T, x: XY, y: XY) -> tuple[int, int, int, int]:
    lowest, highest, right, bottom = t[0], t[0], x[0], y[0]
    for i in range(t.size):
        lowest, highest = min(lowest, t[i]), max(highest, t[i])
        right, bottom = max(right, x[i]), max(bottom, y[i])
    return lowest, highest, right, bottom


@kernel
def _settle(t: T, x: XY, y: XY, p: P, moves: int) -> bool:
    for i in range(1, t.size):
        if t[i] >= t[i - 1]:
            continue
        ti, xi, yi, pi = t[i], x[i], y[i], p[i]
        j = i
        while j > 0 and t[j - 1] > ti:
            t[j], x[j], y[j], p[j] = t[j - 1], x[j - 1], y[j - 1], p[j - 1]
            j -= 1
        t[j], x[j], y[j], p[j] = ti, xi, yi, pi
        moves -= i - j
        if moves < 0:
            return False
    return True


@kernel
def _admit(t: T, running_max: int, reorder_us: int, max_gap_us: int, kept: P) -> tuple[int, int]:
    for i in range(t.size):
        if running_max != NO_TIME:
            if t[i] - running_max > max_gap_us:
                return i, running_max
            kept[i] = t[i] >= running_max - reorder_us
            running_max = max(running_max, t[i])
        else:
            kept[i] = True
            running_max = t[i]
    return t.size, running_max


@kernel
def _inside(x: XY, y: XY, width: int, height: int, kept: P) -> None:
    for i in range(x.size):
        kept[i] = (np.int64(x[i]) < width) & (np.int64(y[i]) < height)


@kernel
def _unpack_aer64(rows: U64, t_us: int, t: T, x: XY, y: XY, p: P) -> None:
    for i in range(rows.size):
        row = rows[i]
        t[i] = t_us + np.int64(row & np.uint64(0xFFFFFFFF))
        x[i] = np.uint16((row >> np.uint64(32)) & np.uint64(0xFFFF))
        y[i] = np.uint16((row >> np.uint64(48)) & np.uint64(0x7FFF))
        p[i] = (row >> np.uint64(63)) != np.uint64(0)


@kernel
def _pack_aer64(t: T, x: XY, y: XY, p: P, t_us: int, rows: U64) -> None:
    for i in range(t.size):
        sign = np.uint64(1) if p[i] else np.uint64(0)
        rows[i] = (
            np.uint64(t[i] - t_us)
            | (np.uint64(x[i]) << np.uint64(32))
            | (np.uint64(y[i]) << np.uint64(48))
            | (sign << np.uint64(63))
        )
