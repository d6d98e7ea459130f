"""Reads the streams for every receiver, fills the outbox, and empties it whenever the receiver is there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import Any

import structlog

from pipeline.errors import UserError
from service.publish_to import PublishTo
from service.publishing.message import message
from service.publishing.mqtt import Broker
from service.publishing.webhook import Later, NotWanted, Webhook
from service.settings import Settings
from service.storage.ports import OutboxStore
from service.storage.records import Message, Waiting
from service.streams import Stream, Streams
from service.streams.row_store import Lagged, RowStore

_log = structlog.get_logger("publishing")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_AT_ONCE = 20
_STAY_S = 15.0
"""Between looks whether a receiver is there, while nothing is to be told."""
_END_S = 1.0
"""What a last look, and saying goodbye, may take each."""
_AGE_S = 30.0
"""Between looks for messages that have waited too long."""
_REFUSALS = 3
"""How often a message that is not wanted is offered before it is dropped."""
_MESSAGES_A_LOOK = 64
"""Of one output: the outbox, not memory, holds what is behind."""


@dataclass
class Told:
    """What became of the messages of one receiver, since the service started.

    Attributes:
        state: idle, sending, or waiting for the receiver to come back.
        sent: messages that it has.
        rows: rows in them.
        dropped: messages that had to go because too much waited, or for too long.
        refused: messages that it did not want.
        lost_rows: rows that were overwritten before they were read.
        error: the last, of now.
        last_sent_s: s since 1970.
    """

    state: str = "idle"
    sent: int = 0
    rows: int = 0
    dropped: int = 0
    refused: int = 0
    lost_rows: int = 0
    error: str | None = None
    last_sent_s: float | None = None


@dataclass
class Publisher:
    """One receiver."""

    to: PublishTo
    outbox: OutboxStore
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self._way: Broker | Webhook = Broker(self.to) if self.to.over_mqtt else Webhook(self.to)
        self._cursors: dict[tuple[str, str], int] = {}
        self._wake = asyncio.Event()
        self._contact_s = -1e9
        """When the receiver last was there, on the monotonic clock."""
        self._refused: tuple[int, int] = -1, 0
        """The message that was not wanted last, and how often."""

    def describe(self) -> dict[str, Any]:
        """``GET /v1/publishers``."""
        # Its host alone: an address may carry a secret.
        held, to = self.outbox.waiting(self.to.name), self.to.address
        return {
            "name": self.to.name, "to": f"{to.scheme}://{to.netloc}",
            "kinds": list(self.to.kinds), **vars(self.told),
            "waiting": held.count, "waiting_bytes": held.bytes,
        }  # fmt: skip

    async def read(self, streams: Streams) -> None:
        """Look at the streams for ever, and put what is new into the outbox."""
        known = False
        while True:
            try:
                if not known:
                    self._cursors, known = await self.outbox.cursors(self.to.name), True
                await self.read_once(streams.all())
            except Exception as problem:  # a full disk, or rows that were deleted: looked at again
                _log.warning("cannot be read for a receiver", receiver=self.to.name, problem=str(problem))
                await asyncio.sleep(1)
            await asyncio.sleep(self.to.every_s)

    async def read_the_last(self, streams: list[Stream]) -> None:
        """Read once more after :meth:`read` was broken off, wherever that was: the outbox knows how far it came."""
        self._cursors = await self.outbox.cursors(self.to.name)
        await self.read_once(streams)

    async def read_once(self, streams: list[Stream]) -> None:
        """Put what came to be since the last look into the outbox."""
        for stream in streams:
            if not stream.restored.is_set():
                continue
            for feed in stream.outputs.values():
                if self._wants(feed):
                    await self._read_or_say(stream, feed)
        there = {stream.id for stream in streams}
        if gone := list({stream for stream, _ in self._cursors} - there):
            self._cursors = {at: row for at, row in self._cursors.items() if at[0] in there}
            await self.outbox.forget_streams(self.to.name, gone)

    async def _read_or_say(self, stream: Stream, feed: RowStore) -> None:
        """Read one output; what is wrong with it holds up no other."""
        try:
            await self._read_feed(stream, feed)
        except Exception as problem:  # a full disk, or rows that were deleted: looked at again
            _log.warning(
                "cannot be read for a receiver", receiver=self.to.name, output=feed.name, problem=str(problem)
            )

    def _wants(self, feed: RowStore) -> bool:
        return feed.port.kind in self.to.kinds and (not self.to.outputs or feed.name in self.to.outputs)

    async def _read_feed(self, stream: Stream, feed: RowStore) -> None:
        at = (stream.id, feed.name)
        first = self._cursors.get(at, 0)
        if first > feed.head.next_row:
            # The machine lost power, and the stream began again before what was told: its numbers come once more.
            _log.warning("rows come again", receiver=self.to.name, stream=stream.id, told=first)
            first = self._cursors[at] = feed.head.next_row
        while first < feed.head.next_row:
            first = await self._take(at, feed, stream, first)

    async def _take(self, at: tuple[str, str], feed: RowStore, stream: Stream, first: int) -> int:
        """Some rows into the outbox; where the next ones are."""
        messages: list[Message] = []
        while first < feed.head.next_row and len(messages) < _MESSAGES_A_LOOK:
            try:
                rows = feed.read(first, self.to.rows)
            except Lagged as lag:
                self.told.lost_rows += lag.oldest - first
                first = lag.oldest
                continue
            messages.append(await asyncio.to_thread(message, stream, feed, first, rows))
            first += len(rows)
        if first != self._cursors.get(at, 0):
            dropped = await self.outbox.add(self.to.name, messages, {at: first}, self.to.keep_bytes)
            self._cursors[at] = first
            self._count_dropped(dropped, "the outbox is full: the oldest messages go")
            self._wake.set()
        return first

    async def drop_old(self) -> None:
        """Look for ever for messages that have waited too long, whether or not anything new comes."""
        while True:
            try:
                while gone := await self.outbox.drop_old(self.to.name, self.to.keep_s):
                    self._count_dropped(gone, "messages have waited too long, and go")
            except Exception as problem:  # such as a full disk
                _log.warning("the outbox cannot be cleared", receiver=self.to.name, problem=str(problem))
            await asyncio.sleep(min(_AGE_S, max(0.1, self.to.keep_s)))

    def _count_dropped(self, messages: int, why: str) -> None:
        if messages and not self.told.dropped:
            _log.warning(why, receiver=self.to.name)
        self.told.dropped += messages

    async def send(self) -> None:
        """Empty the outbox for ever."""
        pause_s = _FIRST_PAUSE_S
        while True:
            # Before the outbox is read: what comes after that wakes the wait below.
            self._wake.clear()
            waiting = await self.outbox.oldest(self.to.name, _AT_ONCE)
            if not waiting:
                await self._stay()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STAY_S):
                        await self._wake.wait()
                continue
            asked_s = 0.0
            try:
                done = waiting[: await self._way.deliver([one.message for one in waiting])]
                removed = await self.outbox.remove([one.number for one in done])
                self._sent([one.message for one in done], len(done) - removed)
                pause_s = _FIRST_PAUSE_S
                continue
            except NotWanted as problem:
                self._record_error(f"{problem}")
                if await self._give_up(waiting[0]):
                    continue
            except Later as problem:
                asked_s = problem.after_s
                self._record_error(str(problem))
            except (OSError, TimeoutError) as problem:
                self._record_error(str(problem) or "no answer in time")
            await asyncio.sleep(asked_s or pause_s * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _give_up(self, refused: Waiting) -> bool:
        """Whether a message was offered often enough: then it is dropped."""
        number, times = self._refused
        times = times + 1 if number == refused.number else 1
        self._refused = refused.number, times
        if times < _REFUSALS:
            return False
        _log.warning("message refused", receiver=self.to.name, id=refused.message.id)
        self.told.refused += await self.outbox.remove([refused.number])
        return True

    async def _stay(self) -> None:
        """Nothing waits: be there all the same, and know if the receiver is, unless it was just told something."""
        if self.told.error is None and time.monotonic() - self._contact_s < _STAY_S / 2:
            self.told.state = "idle"
            return
        try:
            await self._way.stay()
        except (OSError, TimeoutError) as problem:
            self._record_error(str(problem) or "no answer in time")
        else:
            self.told.state, self.told.error = "idle", None
            self._contact_s = time.monotonic()

    def _sent(self, messages: list[Message], dropped_meanwhile: int) -> None:
        told = self.told
        told.dropped -= dropped_meanwhile  # they were on their way, and have come
        if told.error is not None:
            _log.info("receiver is there again", receiver=self.to.name)
        told.state, told.error = "sending", None
        self._contact_s = time.monotonic()
        told.sent, told.last_sent_s = told.sent + len(messages), time.time()
        told.rows += sum(one.rows for one in messages)

    def _record_error(self, why: str) -> None:
        if self.told.error != why:
            _log.warning("receiver not reached", receiver=self.to.name, why=why)
        self.told.state, self.told.error = "waiting", why

    async def close(self) -> None:
        """Leave the receiver."""
        # What was not delivered is on disk already: a receiver that is rude now changes nothing.
        with contextlib.suppress(Exception):
            await self._way.say_goodbye()


def check(receivers: tuple[PublishTo, ...]) -> None:
    """Whether all of them could be told anything.

    Raises:
        UserError: one has the name of another, a file that cannot be read, or needs an extra that is not installed.
    """
    names = [to.name for to in receivers]
    for i, to in enumerate(receivers):
        if to.name in names[:i]:
            raise UserError(f"publish[{i}].name: {to.name!r} is taken by publish[{names.index(to.name)}]")
        try:
            to.secret()
        except (OSError, UnicodeDecodeError) as problem:
            raise UserError(f"publish[{i}].secret_file: cannot be read: {problem}") from problem
        if to.over_mqtt:
            Broker(to)


class Publishers:
    """All receivers of a service.

    Args:
        settings: of the service.
        streams: whose rows are published.
        outbox: where messages wait.

    Raises:
        UserError: one needs an extra that is not installed.
    """

    def __init__(self, settings: Settings, streams: Streams, outbox: OutboxStore) -> None:
        check(settings.publish)
        self._settings, self._streams, self._outbox = settings, streams, outbox
        self._all: list[Publisher] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin."""
        if not self._settings.publish:
            return
        await self._outbox.open({to.name for to in self._settings.publish})
        self._all = [Publisher(to, self._outbox) for to in self._settings.publish]
        for one in self._all:
            self._tasks += [
                asyncio.create_task(one.read(self._streams)),
                asyncio.create_task(one.drop_old()),
                asyncio.create_task(self._sending(one)),
            ]

    async def _sending(self, one: Publisher) -> None:
        while True:
            try:
                await one.send()
            except Exception:  # such as a full disk under the outbox
                _log.exception("sending failed", receiver=one.to.name)
                one.told.state, one.told.error = "waiting", "a fault of the service, see its log"
                await asyncio.sleep(_LONGEST_PAUSE_S)

    async def close(self) -> None:
        """End; what was not delivered waits on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_END_S):
                await asyncio.gather(*(one.read_the_last(self._streams.all()) for one in self._all))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await asyncio.gather(*(one.close() for one in self._all))
        self._outbox.close()

    def describe(self) -> list[dict[str, Any]]:
        """Every receiver, and what became of its messages."""
        return [one.describe() for one in self._all]
