"""The two WebSockets of a stream: what both do before and after the frames flow."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from service.http.extensions import WRITE
from service.http.problems import Problem
from service.routes.state import ServiceState
from service.streams import Stream

PROTOCOL = "polychrony.v1"
_PATIENCE_S = 2
_GONE = (RuntimeError, OSError, TimeoutError, WebSocketDisconnect)


async def stream_or_refusal(socket: WebSocket, service: ServiceState, stream_id: str) -> Stream | None:
    """The stream that a socket asks for; else the upgrade is refused with an HTTP status."""
    problem: Problem | None = None
    stream = service.streams.get(stream_id)
    if service.draining:
        problem = Problem(503, "the service is stopping", headers={"Retry-After": "2"})
    elif stream is None:
        problem = Problem(404, "no such stream")
    elif PROTOCOL not in socket.scope["subprotocols"]:
        problem = Problem(400, f"subprotocol: allowed is {PROTOCOL}")
    if problem is not None:
        await socket.send_denial_response(problem.response())
        return None
    return stream


async def close(socket: WebSocket, code: int, error: tuple[str, str] | None = None) -> None:
    """Say what is wrong, where something is, and close; fine on a socket that is gone."""
    if socket.application_state != WebSocketState.CONNECTED:
        return
    with suppress(*_GONE):  # the other side left first, or does not read
        if error is not None:
            document = {"type": "error", "code": error[0], "detail": error[1]}
            async with asyncio.timeout(_PATIENCE_S):
                await socket.send_json(document)
    with suppress(*_GONE):
        async with asyncio.timeout(_PATIENCE_S):
            await socket.close(code)


def framed(data: bytes, opcode: int = 2) -> bytes:
    """A message as the one frame that goes over the wire: the same for every subscriber, so built once."""
    n, first = len(data), (0x80 | opcode).to_bytes(1, "big")
    if n < 126:
        return first + n.to_bytes(1, "big") + data
    if n < 65_536:
        return first + b"\x7e" + n.to_bytes(2, "big") + data
    return first + b"\x7f" + n.to_bytes(8, "big") + data


def write_now(socket: WebSocket, frames: bytes) -> bool:
    """Messages that :func:`framed` made, where the peer keeps up; else nothing is done."""
    write = socket.scope.get("extensions", {}).get(WRITE)
    return write is not None and write(frames)


async def send_framed(socket: WebSocket, frames: bytes) -> None:
    """Messages that :func:`framed` made, one after the other."""
    await socket.send({"type": "websocket.send", "bytes": frames, "framed": True})


async def send_text_now(socket: WebSocket, document: dict[str, Any]) -> None:
    """A small text message, written at once where the peer keeps up."""
    frame = framed(json.dumps(document).encode(), opcode=1)
    if not write_now(socket, frame):
        await send_framed(socket, frame)


async def send_json(socket: WebSocket, document: dict[str, Any]) -> None:
    """A text message."""
    await socket.send_json(document)
