"""What happens to streams by itself: idle ones end, ended ones are forgotten, and unreadable ones are tried again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from service.host import heap
from service.settings import Settings
from service.streams.lifecycle import OVER
from service.streams.memory import Memory
from service.streams.stream import Stream

if TYPE_CHECKING:
    from service.streams.registry import Streams

_log = structlog.get_logger("streams")
_EVERY_S = 0.5
_LOOKS = 4
"""How often memory is given back after a stream let go of it: at the first times its files may still be there."""


class Upkeep:
    """Looks after all streams, twice a second.

    Args:
        streams: that are looked after.
        memory: of their pipelines.
        settings: of the service.
    """

    def __init__(self, streams: Streams, memory: Memory, settings: Settings) -> None:
        self._streams, self._memory, self._settings = streams, memory, settings
        self._releases_seen = self._looks_left = 0
        self._over_since: dict[str, float] = {}
        self._later: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """End."""
        if self._task:
            self._task.cancel()

    def try_again(self, id_: str) -> None:
        """A stream could not be restored for a reason that may pass."""
        self._later.add(id_)

    def waits(self, id_: str) -> bool:
        """Whether a stream could not be restored yet, and may be later."""
        return id_ in self._later

    def restored(self, id_: str) -> None:
        """It could, by now."""
        self._later.discard(id_)

    async def look_after(self, stream: Stream, now_s: float) -> None:
        """End a stream that is idle, delete one that has been over for long enough."""
        fetcher = self._streams.fetcher(stream.id)
        if fetcher is not None and fetcher.idle_s > stream.request.idle_timeout_s:
            fetcher.end_pictures()
        if stream.restored.is_set() and not stream.session.ended and stream.state not in OVER:
            self._end_if_idle(stream, now_s)
        if stream.state in OVER and not stream.recoverable:
            since_s = self._over_since.setdefault(stream.id, now_s)
            if now_s - since_s > self._settings.keep_ended_s:
                await self._streams.delete(stream.id)

    def _end_if_idle(self, stream: Stream, now_s: float) -> None:
        if stream.session.idle_s(now_s) > stream.request.idle_timeout_s:
            stream.end()
            _log.info("stream ended: no sender", id=stream.id)

    async def _give_back_memory(self) -> None:
        if self._memory.releases != self._releases_seen:
            self._releases_seen = self._memory.releases
            self._looks_left = _LOOKS
        if self._looks_left:
            self._looks_left -= 1
            await asyncio.to_thread(heap.give_back)  # beside the loop: it takes some milliseconds

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(min(_EVERY_S, self._settings.keep_ended_s))
            try:
                await self._give_back_memory()
            except RuntimeError:  # no thread can be started now: there will be another time
                _log.exception("memory cannot be given back")
            for id_ in list(self._later):
                await self._streams.restore(id_)
            there = self._streams.all()
            self._over_since = {one.id: s for one in there if (s := self._over_since.get(one.id)) is not None}
            for stream in there:
                try:
                    await self.look_after(stream, time.monotonic())
                except Exception:
                    _log.exception("a stream could not be looked after", id=stream.id)
