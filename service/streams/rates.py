"""How fast a stream runs: events and bytes a second over the last few."""

from __future__ import annotations

import time
from collections import deque

_OVER_S, _EVERY_S = 5.0, 0.25


class Rates:
    """Counts that are looked at; written by one thread, read by others."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque(maxlen=int(_OVER_S / _EVERY_S) + 2)
        self._bytes = 0

    def count(self, now_s: float, events: int, size: int) -> None:
        """So many events came in all, and so many bytes more."""
        self._bytes += size
        marks = self._marks
        if not marks or now_s - marks[-1][0] >= _EVERY_S:
            marks.append((now_s, events, self._bytes))

    def look(self, events: int) -> dict[str, float]:
        """Events and bytes per second of the last 5 s; 0 where nothing came in them."""
        now = time.monotonic()
        recent = [mark for mark in list(self._marks) if now - mark[0] <= _OVER_S]
        if not recent:
            return {"events_per_s": 0.0, "bytes_per_s": 0.0}
        since_s, before, size = recent[0]
        elapsed = max(now - since_s, _EVERY_S)
        return {
            "events_per_s": round((events - before) / elapsed, 1),
            "bytes_per_s": round((self._bytes - size) / elapsed, 1),
        }
