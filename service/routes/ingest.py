"""``WS /v1/streams/{id}/ingest``: events in."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.problems import Problem
from service.routes import sockets
from service.routes.state import Service
from service.streams import Stream
from service.streams.gate import BAD_FRAME, FAULT, NO_STREAM, SUPERSEDED, Refused
from service.streams.lifecycle import State

router = APIRouter()
_ACK_EVERY = 64
_ACK_PAUSE_S = 0.002
_MOST_WAITING = 65_536
"""Frames of a stream that wait at once; what is sent beyond waits in the sender's socket."""


@router.websocket("/v1/streams/{stream_id}/ingest")
async def ingest(socket: WebSocket, stream_id: str, service: Service) -> None:
    """Take a stream's frames; see docs/protocol.md."""
    stream = await sockets.stream_or_refusal(socket, service, stream_id)
    if stream is not None and stream.fetching is not None:
        problem = Problem(409, "the service itself feeds this stream, from its source")
        await socket.send_denial_response(problem.response())
    elif stream is not None:
        await socket.accept(subprotocol=sockets.PROTOCOL)
        await _Connection(socket, stream).run()


class _Connection:
    """One sender of a stream; a newer one takes over."""

    def __init__(self, socket: WebSocket, stream: Stream) -> None:
        self._socket, self._stream = socket, stream
        self._unacknowledged = 0
        self._again = False
        self._urgent = asyncio.Event()

    async def run(self) -> None:
        stream = self._stream
        stream.sender = self
        stream.announce()  # an older connection sees that it is superseded
        try:
            await stream.restored.wait()
            await self._ready()
            await self._run_both()
        except Refused as refusal:
            await sockets.close(self._socket, refusal.close, (refusal.code, refusal.detail))
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # it may come back and resume
        finally:
            if stream.sender is self:
                stream.sender = None

    async def _run_both(self) -> None:
        reading = asyncio.create_task(self._read())
        telling = asyncio.create_task(self._tell())
        try:
            done, _ = await asyncio.wait({reading, telling}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (reading, telling):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _read(self) -> None:
        """Take frames, for ever: the limit alone holds the sender back."""
        stream = self._stream
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or 1005)
            data = message.get("bytes")
            if data is None:
                raise Refused(BAD_FRAME, "bad_frame", "a frame is a binary message")
            self._check_alive()
            admitted = stream.gate.admit(data)
            if admitted is None:  # what came before is told once more: its sender may not have heard it
                self._again = True
                stream.announce()
                continue
            stream.push(admitted)  # and the stream's thread says when it has it
            await self._room()
            self._unacknowledged += 1
            if self._unacknowledged >= _ACK_EVERY:
                self._urgent.set()

    async def _room(self) -> None:
        """Wait while very many frames wait: the window counts their bytes, and small ones cost more than that."""
        while self._stream.waiting_frames > _MOST_WAITING:
            changed = self._stream.changed
            self._check_alive()
            await changed.wait()

    async def _ready(self) -> None:
        stream = self._stream
        document = {
            "type": "ready", "resume_from": stream.gate.accepted + 1, "limit": stream.limit,
            "max_frame": stream.gate.max_frame_bytes, "sent": stream.gate.accepted_bytes,
        }  # fmt: skip
        await sockets.send_json(self._socket, {**document, "ended": True} if stream.gate.ended else document)

    async def _tell(self) -> None:
        """Acknowledge while frames arrive or are worked off, and say how it all ended."""
        stream = self._stream
        said = -1, -1, -1
        while True:
            changed = stream.changed
            self._check_alive()
            if stream.state is State.ENDED:
                await sockets.send_json(self._socket, stream.ack())
                await sockets.send_json(self._socket, stream.final())
                await sockets.close(self._socket, 1000)
                return
            ack = stream.ack()
            now = ack["received"], ack["durable"], ack["limit"]
            if (self._again or now != said) and stream.gate.accepted:
                said, self._again = now, False
                self._urgent.clear()
                self._unacknowledged = 0
                await sockets.send_text_now(self._socket, ack)
                if (
                    stream.gate.accepted > ack["received"]
                ):  # more is on its way: one word for several frames will do
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._urgent.wait(), _ACK_PAUSE_S)
                continue
            await changed.wait()

    def _check_alive(self) -> None:
        stream = self._stream
        if stream.deleted:
            raise Refused(NO_STREAM, "no_stream", "the stream was deleted")
        if stream.sender is not self:
            raise Refused(SUPERSEDED, "superseded", "a newer connection took over")
        if stream.refused is not None and stream.refused[0] is self:
            raise stream.refused[1]
        if stream.failure is not None:
            code, detail = stream.failure
            raise Refused(BAD_FRAME if code == "late_event" else FAULT, code, detail)
