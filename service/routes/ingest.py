"""``WS /v1/streams/{id}/ingest``: events in."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem
from service.routes import sockets
from service.routes.state import Service
from service.streams import Stream
from service.streams.admission import Refused
from service.streams.session import Close, Word

router = APIRouter()
_ACK_EVERY = 64
_ACK_PAUSE_S = 0.002
_MOST_WAITING = 65_536
"""Frames of a stream that wait at once; what is sent beyond waits in the sender's socket."""


@router.websocket("/v1/streams/{stream_id}/ingest")
@needs(Scope.STREAM)
async def ingest(socket: WebSocket, stream_id: str, service: Service) -> None:
    """Take a stream's frames; see docs/protocol.md."""
    stream = await sockets.stream_or_refusal(socket, service, stream_id)
    if stream is not None and stream.view.source is not None:
        problem = Problem(409, "the service itself feeds this stream, from its source")
        await socket.send_denial_response(problem.response())
    elif stream is not None:
        await socket.accept(subprotocol=sockets.PROTOCOL)
        await _Connection(socket, stream).run()


class _Connection:
    """A WebSocket that feeds a stream: bytes to its :class:`Sender`, and the sender's words back."""

    def __init__(self, socket: WebSocket, stream: Stream) -> None:
        self._socket, self._stream = socket, stream
        self._sender = stream.session.take_over()
        self._unacknowledged = 0
        self._urgent = asyncio.Event()

    async def run(self) -> None:
        self._stream.announce()  # an older connection sees that it is superseded
        try:
            await self._stream.restored.wait()
            await self._run_both()
        except Refused as refusal:
            await sockets.close(self._socket, refusal.close, (refusal.code, refusal.detail))
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # it may come back and resume
        finally:
            self._sender.leave()

    async def _run_both(self) -> None:
        # The first words before the first byte: `ready` says where the sender is to begin.
        if not await self._send_words(self._sender.outgoing()):
            return
        reading = asyncio.create_task(self._read())
        telling = asyncio.create_task(self._acknowledge())
        try:
            # Whichever ends first ends both: a sender that left needs no words; behind the last one nothing is read.
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
            admitted = self._sender.offer(message.get("bytes"))
            if admitted is None:  # what came before is told once more
                stream.announce()
                continue
            stream.push(admitted)  # and the stream's thread says when it has it
            await self._room()
            self._unacknowledged += 1
            if self._unacknowledged >= _ACK_EVERY:
                self._urgent.set()

    async def _room(self) -> None:
        """Wait while very many frames wait: the window counts their bytes, and small ones cost more than that."""
        while self._stream.runner.mailbox.waiting > _MOST_WAITING:
            changed = self._stream.changes.any
            # A stream that failed, or a sender that was superseded, waits for room that never comes.
            self._sender.check()
            await changed.wait()

    async def _acknowledge(self) -> None:
        """Acknowledge while frames arrive or are worked off, and say how it all ended."""
        while True:
            # Taken before the words are: what changes in between wakes the wait below.
            changed = self._stream.changes.any
            words = self._sender.outgoing()
            if not await self._send_words(words):
                return
            if not words:
                await changed.wait()
            elif self._sender.more_expected:  # one word for several frames will do
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ACK_PAUSE_S):
                        await self._urgent.wait()

    async def _send_words(self, words: list[Word]) -> bool:
        """Send what the sender is told; False behind the last word."""
        if words:
            self._urgent.clear()
            self._unacknowledged = 0
        for word in words:
            if isinstance(word, Close):
                await sockets.close(self._socket, word.code, word.error)
                return False
            await sockets.send_text_now(self._socket, word.document)
        return True
