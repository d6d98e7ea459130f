"""Memory of all streams' pipelines: a budget that is asked before anything is allocated."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipeline.errors import UserError

_MIB = 2**20


class NoRoom(UserError):
    """There is not as much memory left."""


class Memory:
    """The budget; may be asked from any thread.

    Args:
        most_bytes: that all streams together may hold.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._lock = most_bytes, threading.Lock()
        self._held: dict[int, int] = {}
        self._last = 0
        self.releases = 0
        """How often something was given back."""

    def hold(self) -> Hold:
        """A part of it, of nothing yet."""
        with self._lock:
            self._last += 1
            return Hold(self._take, self._last)

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        with self._lock:
            return sum(self._held.values())

    def _take(self, number: int, n: int) -> None:
        with self._lock:
            others = sum(one for key, one in self._held.items() if key != number)
            if n > 0 and others + n > self._most:
                left = max(0, self._most - others)
                raise NoRoom(
                    f"its pipeline would hold {n / _MIB:,.0f} MiB, and {left / _MIB:,.0f} of "
                    f"{self._most / _MIB:,.0f} MiB for all streams are left: take a smaller sensor or fewer stages, "
                    "delete a stream, or raise streams_memory_bytes"
                )
            if n:
                self._held[number] = n
            elif self._held.pop(number, None) is not None:
                self.releases += 1


class Hold:
    """What one stream holds of the budget."""

    def __init__(self, take: Callable[[int, int], None], number: int) -> None:
        self._take, self._number = take, number

    def take(self, n: int) -> None:
        """Hold so many bytes, in place of what was held.

        Raises:
            NoRoom: there are not as many; then what was held stays.
        """
        self._take(self._number, n)

    def release(self) -> None:
        """Give all of it back."""
        self._take(self._number, 0)
