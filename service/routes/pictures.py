"""``WS /v1/streams/{id}/pictures``: pictures in, for streams whose source is ``pictures:``."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.sources.live.pushed import MOST_BYTES
from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem
from service.routes import sockets
from service.routes.state import Service
from service.streams import Stream
from service.streams.admission import BAD_FRAME, NO_STREAM, SUPERSEDED, TOO_LARGE
from service.streams.fetching import Fetcher
from service.streams.lifecycle import OVER

router = APIRouter()
_TIME_BYTES, _MOST_US = 8, 2**53
_LOOK_S = 1.0


@router.websocket("/v1/streams/{stream_id}/pictures")
@needs(Scope.STREAM)
async def pictures(socket: WebSocket, stream_id: str, service: Service) -> None:
    """Each message is u64 us, little-endian, and a JPEG, PNG or WebP; a text message ``end`` ends the stream."""
    stream = await sockets.stream_or_refusal(socket, service, stream_id)
    if stream is None:
        return
    fetcher = service.streams.fetcher(stream_id)
    if fetcher is None or not fetcher.takes_pictures:
        await socket.send_denial_response(Problem(409, "the stream's source is not `pictures:`").response())
        return
    await socket.accept(subprotocol=sockets.PROTOCOL)
    me = fetcher.pushers.take_over()
    watching = asyncio.create_task(_close_when_over(socket, stream, fetcher, me))
    try:
        await _take(socket, fetcher)
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # it may come back
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await watching


async def _close_when_over(socket: WebSocket, stream: Stream, fetcher: Fetcher, me: object) -> None:
    """Whoever only sends must be told, too, that nobody takes it any more."""
    while stream.state not in OVER and not stream.deleted and fetcher.pushers.is_newest(me):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await stream.changes.any.wait()
    if stream.deleted:
        await sockets.close(socket, NO_STREAM, ("no_stream", "the stream was deleted"))
    elif not fetcher.pushers.is_newest(me):
        await sockets.close(socket, SUPERSEDED, ("superseded", "a newer connection took over"))
    else:
        await sockets.close(socket, 1000)


async def _take(socket: WebSocket, fetcher: Fetcher) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "end":
            fetcher.end_pictures()
            await sockets.close(socket, 1000)
            return
        data = message.get("bytes") or b""
        t_us = int.from_bytes(data[:_TIME_BYTES], "little")
        if len(data) <= _TIME_BYTES or t_us >= _MOST_US:
            detail = "a picture is u64 us below 2^53 and an image"
            await sockets.close(socket, BAD_FRAME, ("bad_frame", detail))
            return
        if len(data) > MOST_BYTES:
            await sockets.close(socket, TOO_LARGE, ("too_large", f"at most {MOST_BYTES} bytes"))
            return
        await fetcher.push(data[_TIME_BYTES:], t_us)
