"""Requests and sockets under way, each with what let it in: cut within a second of that being worthless."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import UserError
from service.http.problems import Problem

_LOOK_EVERY_S = 0.25
_PATIENCE_S = 2
_WHY = "the token or the session that let it in is no longer good"
_POLICY = 1008
_log = structlog.get_logger("service")


@dataclass(eq=False)
class _One:
    task: asyncio.Task[object]
    good: Callable[[], bool]
    path: str
    cut: bool = False


class ActiveRequests:
    """What is under way; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._all: set[_One] = set()

    async def run(
        self, app: ASGIApp, good: Callable[[], bool] | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request for as long as it may be answered.

        Args:
            app: what answers.
            good: whether it still may; None where it always may.
            scope: see ASGI.
            receive: see ASGI.
            send: see ASGI.
        """
        task = asyncio.current_task()
        if good is None or task is None:
            await app(scope, receive, send)
            return
        one, begun = _One(task, good, scope["path"]), False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] in {"http.response.start", "websocket.accept"}
            await send(message)

        self._all.add(one)
        try:
            await app(scope, receive, noting)
        except asyncio.CancelledError:
            if not one.cut:
                raise
            task.uncancel()
            await _end(scope, receive, send, begun)
        finally:
            self._all.discard(one)

    async def watch(self) -> None:
        """Cut what is no longer good, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for one in [one for one in self._all if not one.cut and not _is_good(one)]:
                one.cut = True
                one.task.cancel()
                _log.info("cut: its token or session is no longer good", path=one.path)


def _is_good(one: _One) -> bool:
    try:
        return one.good()
    except UserError:  # tokens that cannot be read let nobody in
        return False


async def _end(scope: Scope, receive: Receive, send: Send, begun: bool) -> None:
    """The last words to whoever was cut."""
    with suppress(RuntimeError, OSError, TimeoutError):  # it left, or does not read
        async with asyncio.timeout(_PATIENCE_S):
            if scope["type"] == "websocket":
                await _end_socket(send, begun)
            elif begun:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await Problem(401, _WHY, headers={"Connection": "close"}).response()(scope, receive, send)


async def _end_socket(send: Send, begun: bool) -> None:
    if begun:
        text = f'{{"type": "error", "code": "access_ended", "detail": "{_WHY}"}}'
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S / 2):
                await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close", "code": _POLICY})
