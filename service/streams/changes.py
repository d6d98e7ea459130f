"""How the event loop hears of what a stream's thread did."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class Changes:
    """Two events that are set and replaced at each change: take one, look, then wait for the one that was taken.

    Args:
        look: called on the event loop for each change that the thread told of.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._loop, self._look = asyncio.get_running_loop(), look
        self.any, self.for_readers = asyncio.Event(), asyncio.Event()
        self._pending = threading.Event()
        self._seen: tuple[object, ...] = ()

    def from_thread(self) -> None:
        """Something changed, says the stream's thread; many such words become one."""
        if not self._pending.is_set():
            self._pending.set()
            self.call(self._look)

    def call(self, what: Callable[[], None]) -> None:
        """Have the event loop do something; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(what)

    def begin(self) -> None:
        """The event loop looks now: what changes from here on is told anew."""
        self._pending.clear()

    def tell(self, seen: tuple[object, ...]) -> None:
        """Wake everyone who waits for a change, and readers where what they see is another."""
        self.any.set()
        self.any = asyncio.Event()
        if seen != self._seen:
            self._seen = seen
            self.for_readers.set()
            self.for_readers = asyncio.Event()
