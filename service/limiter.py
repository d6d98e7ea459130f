"""How often somebody may: counts per minute and key, in memory."""

from __future__ import annotations

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter


class PerMinute:
    """At most ``most`` a minute for each key.

    Args:
        most: that many.
    """

    def __init__(self, most: int) -> None:
        self._limiter, self._item = FixedWindowRateLimiter(MemoryStorage()), RateLimitItemPerMinute(most)

    def hit(self, key: str) -> bool:
        """Once more; whether that was still allowed."""
        return self._limiter.hit(self._item, key)

    def test(self, key: str) -> bool:
        """Whether once more would be."""
        return self._limiter.test(self._item, key)
