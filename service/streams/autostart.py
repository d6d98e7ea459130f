"""Streams that are there whenever the service is: the setting ``autostart``, opened whenever they are not."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError

from pipeline.errors import UserError, in_words
from service.access import allowed_sources
from service.settings import Settings
from service.streams.lifecycle import OVER
from service.streams.opening import open_stream
from service.streams.registry import Streams, TooManyStreams
from service.streams.request import StreamRequest

_log = structlog.get_logger("streams")
_PREFIX = "\0autostart:"
_LOOK_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STEADY_S = 60.0
"""A stream that lasted so long did not fail at its start."""


class BadAutostart(UserError):
    """An entry of ``autostart`` that cannot be used."""


@dataclass
class Standing:
    """One of them.

    Attributes:
        request: what it is.
        stream: its name of now.
        opened: how often it was opened.
        error: why it is not there.
    """

    request: StreamRequest
    stream: str | None = None
    opened: int = 0
    error: str | None = None
    pause_s: float = _FIRST_PAUSE_S
    opened_s: float = 0.0

    @property
    def key(self) -> str:
        """Its idempotency key, which no client sends: a restart finds the stream again, unless the entry changed."""
        entry = self.request.model_dump_json(exclude_unset=True).encode()
        return f"{_PREFIX}{self.request.name}:{hashlib.sha256(entry).hexdigest()[:16]}"


def read(settings: Settings) -> list[Standing]:
    """The entries of ``autostart``.

    Raises:
        BadAutostart: one cannot be used, with what is allowed.
    """
    found: list[Standing] = []
    for i, entry in enumerate(settings.autostart):
        where = f"autostart[{i}]"
        try:
            request = StreamRequest.model_validate(entry)
            request.spec()
        except ValidationError as problem:
            first = problem.errors()[0]
            path = ".".join(str(part) for part in first["loc"])
            raise BadAutostart(f"{where}.{path}: {in_words(first)}") from problem
        except UserError as problem:
            raise BadAutostart(f"{where}.pipeline: {problem}") from problem
        if request.name is None or any(request.name == other.request.name for other in found):
            raise BadAutostart(f"{where}.name: needed, and of no other stream")
        if request.source is None:
            raise BadAutostart(f"{where}.source: needed: nobody else feeds it")
        found.append(Standing(request))
    return found


class AutostartStreams:
    """All of them; belongs to the event loop's thread.

    Raises:
        BadAutostart: see :func:`read`.
    """

    def __init__(self, settings: Settings, streams: Streams) -> None:
        self._settings, self._streams = settings, streams
        self._all = read(settings)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin; streams of entries that are no more, or have changed, are ended."""
        wanted = {one.key for one in self._all}
        for key, id_ in self._streams.keys.all().items():
            if key.startswith(_PREFIX) and key not in wanted:
                await self._streams.delete(id_)
        self._tasks = [asyncio.create_task(self._keep(one)) for one in self._all]

    async def close(self) -> None:
        """Open none any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe(self) -> list[dict[str, Any]]:
        """What became of each."""
        return [
            {"name": one.request.name, "stream": one.stream, "opened": one.opened, "error": one.error}
            for one in self._all
        ]

    async def _keep(self, one: Standing) -> None:
        while True:
            try:
                await self._reconcile(one)
            except Exception as problem:
                _log.exception("a standing stream could not be looked after", name=one.request.name)
                one.error = f"a fault of the service: {type(problem).__name__}"
                await asyncio.sleep(_LONGEST_PAUSE_S)
            await asyncio.sleep(_LOOK_S)

    async def _reconcile(self, one: Standing) -> None:
        stream = self._streams.with_key(one.key)
        if stream is not None and stream.state not in OVER:
            if one.stream is None:
                one.opened_s = time.monotonic()
            one.stream, one.error = stream.id, None
            return
        if stream is not None:
            self._ended(one, stream.failure)
            self._streams.keys.forget(one.key)
            if stream.recoverable:  # else one that fails again and again would take every place
                await self._streams.delete(stream.id)
            await asyncio.sleep(one.pause_s)
        try:
            opened = await open_stream(self._streams, self._settings, one.request, one.key)
        except (UserError, allowed_sources.NotAllowed, TooManyStreams, OSError) as problem:
            if one.error != str(problem):
                _log.warning("a standing stream cannot be opened", name=one.request.name, why=str(problem))
            one.stream, one.error = None, str(problem)
            one.pause_s = min(_LONGEST_PAUSE_S, one.pause_s * 2)
            await asyncio.sleep(one.pause_s)
            return
        one.stream, one.error, one.opened = opened.id, None, one.opened + 1
        one.opened_s = time.monotonic()

    def _ended(self, one: Standing, failure: tuple[str, str] | None) -> None:
        one.error = failure[1] if failure else "it has ended"
        steady = time.monotonic() - one.opened_s > _STEADY_S
        one.pause_s = _FIRST_PAUSE_S if steady else min(_LONGEST_PAUSE_S, one.pause_s * 2)
        _log.warning("a standing stream has ended", name=one.request.name, stream=one.stream, why=one.error)
        one.stream = None
