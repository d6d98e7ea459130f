"""How old something is, by a clock that nobody sets; a wall clock that is set makes nothing older or younger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

_NO_TIME_S = 1.7e9
"""Stamps before this (2023) are of a machine that did not know the time yet."""
_WALL_S, _MONOTONIC_S = time.time(), time.monotonic()


def steady_s() -> float:
    """Seconds since 1970 as the wall clock said at the start of the process, and monotonic since."""
    return _WALL_S + time.monotonic() - _MONOTONIC_S


class Ages:
    """Ages of what has a stamp of the wall clock: looked at once, when it is first asked for."""

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._born: dict[str, float] = {}

    def age_s(self, key: str, stamp_s: float) -> float:
        """Seconds since ``stamp_s``; what comes from the future, or from before anybody knew the time, is new."""
        now = self._monotonic()
        if key not in self._born:
            age = max(0.0, self._wall() - stamp_s) if stamp_s >= _NO_TIME_S else 0.0
            self._born[key] = now - age
        return now - self._born[key]

    def begin(self, key: str) -> None:
        """It is new now."""
        self._born[key] = self._monotonic()

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(keys)
        self._born = {key: born for key, born in self._born.items() if key in kept}
