"""All streams of the service: made, found, restored, ended when nobody feeds them, forgotten in time."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time

import structlog

from pipeline.errors import UserError
from service import wire
from service.settings import Settings
from service.streams.gate import Admitted
from service.streams.stream import State, Stream, StreamRequest, read_request

_log = structlog.get_logger("streams")
_OVER = {State.ENDED, State.FAILED}


class TooManyStreams(Exception):
    """The service keeps as many streams as it may."""


class Streams:
    """The streams, by name; belongs to the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._streams: dict[str, Stream] = {}
        self._over_since: dict[str, float] = {}
        self._watch: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Go on with the streams that a crash or restart left, and start watching."""
        folder = self._settings.streams_dir
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            self._restore(path.name)
        self._watch = asyncio.create_task(self._watch_forever())

    async def close(self) -> None:
        """Stop all threads; what is on disk stays."""
        if self._watch:
            self._watch.cancel()
        for stream in self._streams.values():
            await asyncio.to_thread(stream.close)

    async def make_room(self) -> None:
        """Forget the stream that has been over for longest, where there are as many as there may be."""
        if len(self._streams) >= self._settings.max_streams:
            over = [stream for stream in self._streams.values() if stream.state in _OVER]
            if over:
                await self.delete(min(over, key=lambda stream: stream.created_s).id)

    def create(self, request: StreamRequest) -> Stream:
        """A new stream.

        Raises:
            SpecError: its pipeline cannot be used.
            TooManyStreams: there are as many as there may be.
        """
        if len(self._streams) >= self._settings.max_streams:
            raise TooManyStreams(f"{self._settings.max_streams} streams are kept already: delete one")
        id_ = secrets.token_hex(8)
        stream = self._made(id_, request)
        stream.start(restore=False)
        _log.info("stream created", id=id_, policy=request.policy)
        return stream

    def get(self, id_: str) -> Stream | None:
        """The stream of this name."""
        return self._streams.get(id_)

    def page(self, after: str | None, most: int) -> tuple[list[Stream], str | None]:
        """Streams in order of their names behind ``after``, and where the next page starts."""
        names = sorted(name for name in self._streams if after is None or name > after)
        shown = names[:most]
        return [self._streams[name] for name in shown], shown[-1] if len(names) > most else None

    async def delete(self, id_: str) -> bool:
        """Remove a stream and what it kept; whether there was one."""
        stream = self._streams.pop(id_, None)
        self._over_since.pop(id_, None)
        if stream is None:
            return False
        stream.deleted = True  # before its rows go, or subscribers would read what is no more
        stream.announce()
        await asyncio.to_thread(stream.close)
        stream.delete()
        _log.info("stream deleted", id=id_)
        return True

    def counts(self) -> dict[str, int]:
        """Streams by state."""
        found = dict.fromkeys((state.value for state in State), 0)
        for stream in self._streams.values():
            found[stream.state.value] += 1
        return found

    def all(self) -> list[Stream]:
        """Every stream."""
        return list(self._streams.values())

    def _made(self, id_: str, request: StreamRequest) -> Stream:
        folder = self._settings.streams_dir / id_
        try:
            stream = Stream(id_, request, self._settings, folder, asyncio.get_running_loop())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._streams[id_] = stream
        return stream

    def _restore(self, id_: str) -> None:
        folder = self._settings.streams_dir / id_
        try:
            request = read_request(folder)
            if request.policy != "lossless":
                shutil.rmtree(folder, ignore_errors=True)  # resumes over a broken connection only
                return
            self._made(id_, request).start(restore=True)
        except (UserError, OSError, ValueError) as problem:
            _log.error("stream not restored", id=id_, problem=str(problem))

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            for stream in list(self._streams.values()):
                if stream.sender is not None:
                    stream.last_seen_s = now
                elif stream.restored.is_set() and not stream.gate.ended:
                    self._end_if_idle(stream, now)
                if stream.state in _OVER:
                    since = self._over_since.setdefault(stream.id, now)
                    if now - since > self._settings.keep_ended_s:
                        await self.delete(stream.id)

    def _end_if_idle(self, stream: Stream, now: float) -> None:
        """A stream without sender ends as if ``end`` had come."""
        if now - stream.last_seen_s <= stream.request.idle_timeout_s or stream.state in _OVER:
            return
        # Not a number of the client's: a frame that it has still to send must not pass for this one.
        raw = wire.build(wire.END, 0, stream.gate.accepted, 0, 0)
        frame = wire.parse(raw)
        stream.gate.take(frame, 0)
        stream.push(Admitted(frame, raw, now))
        _log.info("stream ended: no sender", id=stream.id)
