"""Sources that the service itself fetches events from: started, watched, and started again when they fail.

A source is read by a child process with limits (``fetch_child.py``), whose frames go through the stream's gate like a
client's. A file is read again from its start after a restart, and the frames that the stream has are left out; what
is live goes on behind a gap.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

import structlog

from pipeline import wire
from pipeline.errors import UserError
from pipeline.sensor import Sensor
from pipeline.sources.live.pushed import HEAD
from service.access import allowed_sources
from service.access.redaction import masked
from service.host import child
from service.settings import MIB, Settings
from service.streams.admission import Refused
from service.streams.lifecycle import OVER
from service.streams.request import SourceRequest, StreamRequest
from service.streams.session import Sender
from service.streams.stream import Stream

_log = structlog.get_logger("sources")
_MEMORY_BYTES, _FILE_BYTES = 4096 * MIB, 64 * MIB
"""It writes no files but what numba keeps of its kernels."""
_NETWORK = "tcp,rtp,rtsp|rtsp_transport;tcp"
"""What FFmpeg may open for a camera."""
_OPEN_S = 60
_MOST_PIXELS = 2**24
"""Of a picture that is pushed: a small file may hold a huge one. OpenCV reads this when it is loaded."""
_START_S, _MOST_STARTS = 10, 3
"""How long pictures wait for the child that sees them, and how often one is started in vain."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class SourceFailed(UserError):
    """A source that could not be opened in time."""


class Pushers:
    """Clients that push pictures: the newest one's are taken."""

    def __init__(self) -> None:
        self._newest: object | None = None

    def take_over(self) -> object:
        """A new one, and what it is told apart by. The one before is superseded."""
        self._newest = object()
        return self._newest

    def is_newest(self, pusher: object) -> bool:
        """Whether nobody has taken over."""
        return self._newest is pusher


class Fetcher:
    """The source of one stream.

    Args:
        request: of the stream; with a source.
        settings: of the service.
    """

    def __init__(self, request: StreamRequest, settings: Settings) -> None:
        if request.source is None:
            raise ValueError("a stream without a source")
        self._source: SourceRequest = request.source
        self._sensor, self._allowed = request.sensor or request.spec().sensor, settings.allowed_sources
        self._child: child.Child | None = None
        self._started, self._no_more = asyncio.Event(), False
        self.pushers = Pushers()
        self._task: asyncio.Task[None] | None = None
        self._is_file = False
        self._last_s, self._pushed_s = 0.0, time.monotonic()
        self._events: int | None = None
        """Events that the stream has of it."""
        self.state, self.error, self.restarts = "connecting", "", 0
        self._about: dict[str, Any] = {}
        self._losses: dict[str, int] = {}
        self._earlier: dict[str, int] = {}

    @property
    def address(self) -> str:
        """Where it fetches from."""
        return self._source.address

    @property
    def takes_pictures(self) -> bool:
        """Whether clients push pictures into it."""
        return self._source.address == allowed_sources.PUSHED

    @property
    def idle_s(self) -> float:
        """For how long no picture was pushed; 0 where none are waited for."""
        return time.monotonic() - self._pushed_s if self.takes_pictures else 0.0

    async def push(self, data: bytes, t_us: int) -> None:
        """Hand a picture to the pixel model; waits while its pipe is full, drops it where nobody looks."""
        self._pushed_s = time.monotonic()
        # A child that is being started anew takes the picture after all; one that does not come is no reason to wait.
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await self._started.wait()
        stdin = self._child.stdin if self._child else None
        if stdin is None or stdin.is_closing():
            self._earlier["pictures_nobody_looked_at"] = self._earlier.get("pictures_nobody_looked_at", 0) + 1
            return
        stdin.write(HEAD.pack(len(data), t_us) + data)
        # A child that dies now is started again by whoever reads its frames; this picture went with it.
        with suppress(ConnectionError):
            await stdin.drain()

    def end_pictures(self) -> None:
        """No more come: what is in the pipe is worked off, and the stream ends."""
        self._no_more = True
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    async def open(self) -> Sensor:
        """Start it, and wait until it says how large its sensor is.

        Raises:
            NotAllowed: the service may not fetch from there.
            SourceFailed: it does not open, or not in time.
        """
        try:
            reader = await self._start(0, 0, gap=False)
            async with asyncio.timeout(_OPEN_S):
                while (frame := await _next_frame(reader.stdout)) is not None:
                    self._on_status(frame)
                    if "sensor" in self._about:
                        return Sensor(**self._about["sensor"])
                words = await reader.last_words()
        except TimeoutError as problem:
            await self.close()
            raise SourceFailed(
                f"source: says nothing of its sensor within {_OPEN_S} s; give `sensor`"
            ) from problem
        raise SourceFailed(f"source: {words or 'ended at once'}")

    def feed(self, stream: Stream) -> None:
        """Send its frames into a stream, for as long as that takes them."""
        self._task = asyncio.create_task(self._run(stream, stream.session.take_over()))

    async def close(self) -> None:
        """End the child."""
        if self._task:
            self._task.cancel()
            # Not `suppress(CancelledError)`: whoever waits here may be cancelled, too, and must hear of it.
            await asyncio.gather(self._task, return_exceptions=True)
        await self._kill()

    def describe(self) -> dict[str, Any]:
        """What is known of it, for ``stats``."""
        return {
            "address": masked(self._source.address), "state": self.state,
            "error": self.error or None, "restarts": self.restarts, "name": self._about.get("name"),
            "losses": self._total(), "may_be_lost_unnoticed": self._about.get("loss_note"),
        }  # fmt: skip

    def _total(self) -> dict[str, int]:
        names = {**self._earlier, **self._losses}
        return {name: self._earlier.get(name, 0) + self._losses.get(name, 0) for name in names}

    async def _run(self, stream: Stream, sender: Sender) -> None:
        try:
            await stream.restored.wait()
            pause_s = _FIRST_PAUSE_S
            while stream.state not in OVER:
                before = stream.session.accepted
                if await self._once(stream, sender):
                    self.state = "ended"
                    stream.end()
                    return
                self.state, self.restarts = "waiting", self.restarts + 1
                if (
                    self.takes_pictures
                    and self.restarts >= _MOST_STARTS
                    and stream.session.accepted == before
                ):
                    stream.fail("source", f"{self.error or 'it does not start'}")
                    return
                came = stream.session.accepted > before
                pause_s = _FIRST_PAUSE_S if came else min(_LONGEST_PAUSE_S, pause_s * 2)
                await asyncio.sleep(pause_s)
        except allowed_sources.NotAllowed as problem:
            self.state, self.error = "failed", str(problem)
            stream.fail("source", str(problem))
        except Exception as problem:
            _log.exception("a source's feeder failed", stream=stream.id)
            stream.fail("source", f"a fault of the service: {type(problem).__name__}")
        finally:
            sender.leave()

    async def _once(self, stream: Stream, sender: Sender) -> bool:
        """Take all frames of one child; whether the source itself came to its end."""
        newest = stream.view.newest_us()
        reader = self._child
        if self._events is None:
            self._events = stream.view.events_taken()
        if reader is None:
            not_before = 0 if newest is None else newest + 1 + self._idle_us()
            reader = await self._start(stream.session.accepted, not_before, gap=newest is not None)
        try:
            self._fits(stream)
            while (frame := await _next_frame(reader.stdout)) is not None:
                if frame[5] == wire.STREAM:
                    self._on_status(frame)
                    self._fits(stream)
                    continue
                self.state, self.error, self._last_s = "running", "", time.monotonic()
                await self._push(stream, sender, frame)
                if stream.deleted or stream.state in OVER:
                    return False
            self.error = await reader.last_words()
            return await reader.wait() == 0
        except Refused as refusal:
            self.error = str(refusal)
            stream.fail("source", f"{refusal}: what a source sends does not fit the stream")
            return False
        finally:
            await self._kill()
            self._earlier, self._losses = self._total(), {}

    def _idle_us(self) -> int:
        """How long nothing came: the stream's time went on meanwhile."""
        return round((time.monotonic() - self._last_s) * 1e6) if self._last_s else 0

    async def _push(self, stream: Stream, sender: Sender, raw: bytes) -> None:
        while sender.room < len(raw) and stream.state not in OVER and not stream.deleted:
            await stream.changes.any.wait()
        if stream.state in OVER or stream.deleted:
            return
        admitted = sender.offer(raw)
        if admitted is not None:
            stream.push(admitted)
            if admitted.frame.type == wire.EVENTS:
                self._events = (self._events or 0) + admitted.frame.count

    def _fits(self, stream: Stream) -> None:
        stated = self._about.get("sensor")
        sensor = stream.graph.sensor.model_dump()
        if stated and stated != sensor and self.state != "failed":
            self.state = "failed"
            stream.fail(
                "sensor", f"the source is {stated['width']}x{stated['height']}, the stream "
                f"{sensor['width']}x{sensor['height']}",
            )  # fmt: skip

    async def _start(self, after: int, not_before_us: int, gap: bool) -> child.Child:
        target = await allowed_sources.look_up(self._source.address, self._allowed)
        again = self._source.follow or self._source.repeat
        self._is_file = target.is_file and not again
        self.state = "connecting"
        asked = {
            "address": target.address, "host": target.host, "port": target.port, "is_file": self._is_file,
            "local": target.is_file,
            "sensor": self._sensor and self._sensor.model_dump(), "speed": self._source.speed,
            "follow": self._source.follow, "repeat": self._source.repeat,
            "give_up_s": self._source.give_up_s,
            "after": after, "not_before_us": 0 if target.is_file and not self._source.repeat else not_before_us,
            # A file that grows is cut into frames as it grows: what the stream has of it is counted in events.
            "skip_events": (self._events or 0) if target.is_file and self._source.follow else 0,
            "gap": gap and (self._source.repeat or not target.is_file),
        }  # fmt: skip
        limits = child.Limits(_MEMORY_BYTES, _FILE_BYTES, protocols="file" if target.is_file else _NETWORK)
        self._child = reader = await child.start(
            "fetch", limits=limits, takes_input=True, most_bytes=8 * MIB,
            environment={"OPENCV_IO_MAX_IMAGE_PIXELS": str(_MOST_PIXELS)},
        )  # fmt: skip
        if reader.stdin is not None:
            reader.stdin.write(json.dumps(asked).encode() + b"\n")
            if not self.takes_pictures or self._no_more:
                reader.stdin.close()
        self._started.set()
        return reader

    async def _kill(self) -> None:
        reader, self._child = self._child, None
        self._started.clear()
        if reader is not None:
            await reader.end()

    def _on_status(self, raw: bytes) -> None:
        document = json.loads(wire.parse(raw).payload.tobytes())
        self._losses = document.pop("losses", self._losses)
        self._about = {**self._about, **document}


async def _next_frame(written: asyncio.StreamReader) -> bytes | None:
    """The next frame that a child wrote, or None at its end."""
    try:
        head = await written.readexactly(wire.HEADER_BYTES)
        return head + await written.readexactly(wire.payload_bytes(head))
    except asyncio.IncompleteReadError:
        return None
