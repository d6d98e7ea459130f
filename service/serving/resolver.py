"""An event loop that looks names up in threads of its own.

A resolver on a dead network is silent for long. asyncio asks it in the few threads that everything else shares, so
that a handful of receivers that cannot be found would stop all work on files.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

_THREADS = 32


class Loop(asyncio.SelectorEventLoop):
    """asyncio's, but for names: a question that is open is not asked twice, so each takes one thread at most."""

    def __init__(self) -> None:
        super().__init__()
        self._resolving = ThreadPoolExecutor(_THREADS, "look-up")
        self._open: dict[Any, asyncio.Future[Any]] = {}

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """As :func:`socket.getaddrinfo`, beside the loop."""
        question = host, port, *sorted(hints.items())
        asked = self._open.get(question)
        if asked is None:
            ask = partial(socket.getaddrinfo, host, port, **hints)
            asked = self._open[question] = self.run_in_executor(self._resolving, ask)
            asked.add_done_callback(partial(self._answered, question))
        return await asyncio.shield(asked)  # whoever gives up gives up for itself alone

    def _answered(self, question: Any, asked: asyncio.Future[Any]) -> None:
        del self._open[question]
        if not asked.cancelled():
            asked.exception()  # perhaps nobody waits any more
