"""How often somebody may: counts per minute and key, in memory, by a clock that nobody sets.

(Considered: limits. Its windows go by the wall clock: one that is set back by a day answers 429 for a day.)
"""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW_S = 60.0
_MANY = 10_000


class PerMinute:
    """At most ``most`` a minute for each key.

    Args:
        most: that many.
        clock: seconds, never falling.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._counts: dict[str, tuple[float, int]] = {}
        """Per key when its window began, and how often in it."""

    def hit(self, key: str) -> bool:
        """Once more; whether that was still allowed."""
        began, n = self._window(key)
        if n >= self._most:
            return False
        if len(self._counts) >= _MANY:
            self._forget_old()
        self._counts[key] = began, n + 1
        return True

    def test(self, key: str) -> bool:
        """Whether once more would be."""
        return self._window(key)[1] < self._most

    def _window(self, key: str) -> tuple[float, int]:
        now = self._clock()
        began, n = self._counts.get(key, (now, 0))
        return (began, n) if now - began < _WINDOW_S else (now, 0)

    def _forget_old(self) -> None:
        now = self._clock()
        self._counts = {key: one for key, one in self._counts.items() if now - one[0] < _WINDOW_S}
