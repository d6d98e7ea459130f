"""Log lines of one cause, over and over: a few are said, the rest are counted and said as one line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

SAID, WINDOW_S = 5, 10.0
"""So many lines of one cause are said in a span of time."""
_MANY = 1000


class Repeats:
    """Counts lines by their cause; may be asked from any thread.

    Args:
        clock: seconds, never falling.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: dict[Hashable, tuple[float, int, Callable[[int], None]]] = {}
        """Per cause when its span began, how many came, and how to say how many were not said."""

    def says(self, cause: Hashable, sum_up: Callable[[int], None]) -> bool:
        """Whether a line of this cause is to be said.

        Args:
            cause: what lines of one cause share.
            sum_up: says, later, that so many more came.
        """
        self.flush(_MANY if len(self._seen) >= _MANY else None)
        with self._lock:
            began, n, _ = self._seen.get(cause, (self._clock(), 0, sum_up))
            self._seen[cause] = began, n + 1, sum_up
            return n < SAID

    def flush(self, most: int | None = None) -> None:
        """Say how many lines were not said of spans that are over; of all where there are ``most`` causes."""
        now = self._clock()
        with self._lock:
            over = {
                cause: one
                for cause, one in self._seen.items()
                if now - one[0] >= WINDOW_S or (most is not None and len(self._seen) >= most)
            }
            for cause in over:
                del self._seen[cause]
        for _, n, sum_up in over.values():
            if n > SAID:
                sum_up(n - SAID)
