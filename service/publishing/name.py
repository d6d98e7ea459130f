"""Whether a broker's name leads anywhere, asked in a thread of its own.

paho asks it in threads that the whole service shares, where a resolver that is silent would take one after the
other. So it is let loose only on names that were just found.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_PATIENCE_S = 10.0


class Name:
    """A host and its port."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._thread = ThreadPoolExecutor(1, f"look-up-{host}")
        self._asked: asyncio.Future[Any] | None = None

    async def find(self) -> None:
        """Return once the name is found; a question that is still open is not asked twice, and a late answer is one.

        Raises:
            OSError: there is no such name, or nobody says so in time.
        """
        if self._asked is None:
            self._asked = asyncio.get_running_loop().run_in_executor(
                self._thread, socket.getaddrinfo, self._host, self._port
            )
            self._asked.add_done_callback(_heard)
        done, _ = await asyncio.wait({self._asked}, timeout=_PATIENCE_S)
        if not done:
            raise ConnectionError(f"the name {self._host} was not resolved within {_PATIENCE_S:.0f} s")
        asked, self._asked = self._asked, None
        try:
            asked.result()
        except UnicodeError as problem:
            raise ConnectionError(f"the name {self._host} is none: {problem}") from problem


def _heard(asked: asyncio.Future[Any]) -> None:
    """Its answer may come when nobody waits for it any more."""
    if not asked.cancelled():
        asked.exception()
