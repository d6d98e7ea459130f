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
    """asyncio's, but for names."""

    def __init__(self) -> None:
        super().__init__()
        self._resolving = ThreadPoolExecutor(_THREADS, "look-up")

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """As :func:`socket.getaddrinfo`, beside the loop."""
        return await self.run_in_executor(self._resolving, partial(socket.getaddrinfo, host, port, **hints))
