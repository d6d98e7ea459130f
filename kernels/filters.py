"""Event filters: which events stay, judged one by one in stream order.

Each takes the events' columns and its own state, writes a ``kept`` mask, and updates the state in
place. Times are int64 us, so nothing drifts; ``NEVER`` marks a pixel that has seen nothing.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.columns import I64, XY, P, T

NEVER = -(2**62)
"""The time of an event that never was: far enough back that every window has closed."""


def blank_map(width: int, height: int) -> I64:
    """A map [height, width] of last event times in which nothing has happened."""
    return np.full((height, width), NEVER, np.int64)


def refractory(t: T, x: XY, y: XY, last: I64, period_us: int) -> P:
    """Keep an event iff its pixel kept none within the last ``period_us``: t - last > period_us.

    Args:
        t, x, y: events [n].
        last: time of the last kept event per pixel [height, width], updated in place.
        period_us: the refractory period.
    """
    kept = np.empty(len(t), np.bool_)
    _refractory(t, x, y, last, period_us, kept)
    return kept


def background_activity(t: T, x: XY, y: XY, last: I64, window_us: int) -> P:
    """Keep an event iff one of its 8 neighbours fired within the last ``window_us``.

    The event itself then supports its neighbours, kept or not; its own pixel's past does not count,
    so hot pixels go too. Source: Delbruck, "Frame-free dynamic digital vision", 2008.

    Args:
        t, x, y: events [n].
        last: time of the last event per pixel with a border of one, [height + 2, width + 2], updated
            in place.
        window_us: how far back support may lie: t - last <= window_us.
    """
    kept = np.empty(len(t), np.bool_)
    _background_activity(t, x, y, last, window_us, kept)
    return kept


@kernel
def _refractory(t: T, x: XY, y: XY, last: I64, period_us: int, kept: P) -> None:
    for i in range(t.size):
        if t[i] - last[y[i], x[i]] > period_us:
            last[y[i], x[i]] = t[i]
            kept[i] = True
        else:
            kept[i] = False


@kernel
def _background_activity(t: T, x: XY, y: XY, last: I64, window_us: int, kept: P) -> None:
    for i in range(t.size):
        row, column = np.int64(y[i]), np.int64(x[i])  # the corner of its 3x3 neighbourhood
        own = last[row + 1, column + 1]
        last[row + 1, column + 1] = NEVER
        newest = NEVER
        for dy in range(3):
            for dx in range(3):
                newest = max(newest, last[row + dy, column + dx])
        kept[i] = t[i] - newest <= window_us
        last[row + 1, column + 1] = max(own, t[i])
