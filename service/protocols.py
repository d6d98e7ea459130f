"""uvicorn's protocols with limits on time: a client that dribbles, or does not read, is closed.

uvicorn waits for ever for the rest of a header, for the rest of a message, and for a peer to read what it is sent
before it closes. (Considered: a front server that does so. It would be one more part for every box to configure; the
subclasses here are what is missing, and tests/reliability holds them to it.)
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.settings import Settings

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
)
_LAST_WORDS_S = 1.0
"""How long a peer has to read what it was told last."""
_DRAIN_S = 2.0
WRITE = "polychrony.write"
"""Of a scope's extensions: writes frames that are built already, and says whether it could do so at once."""
_SMALL, _AHEAD = 262_144, 8
"""Messages of so many bytes, and so many of them, may wait without reading being stopped."""


class PatientHttp(H11Protocol):
    """HTTP whose request headers must come in time."""

    settings: ClassVar[Settings]
    _header_timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Refuse more connections than there may be; else wait for a header, not for ever."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._await_header()

    def data_received(self, data: bytes) -> None:
        """Count the time of a header from its first byte."""
        if self._header_timer is None and self.conn.their_state is h11.IDLE:
            self._await_header()
        super().data_received(data)
        answered = self.conn.our_state is h11.DONE
        if self.conn.their_state is not h11.IDLE and not (
            answered and self.conn.their_state is h11.SEND_BODY
        ):
            self._header_came()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._header_came()
        self._reads_again()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on another protocol counts."""
        self._header_came()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Whoever was answered before its body was whole may send the rest, which nobody reads, but not for ever."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._await_header()

    def pause_writing(self) -> None:
        """The peer reads slower than it is written to: that may go on for some time, not for ever."""
        super().pause_writing()
        if self._reading_timer is None:
            self._reading_timer = self.loop.call_later(self.settings.slow_subscriber_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        self._reads_again()
        super().resume_writing()

    def shutdown(self) -> None:
        """Close; and where the peer does not read, close all the same."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(_DRAIN_S, self.transport.abort)

    def _await_header(self) -> None:
        self._header_timer = self.loop.call_later(self.settings.header_timeout_s, self._too_slow)

    def _header_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _reads_again(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()
            self.loop.call_later(_LAST_WORDS_S, self.transport.abort)


class PatientWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose messages must come in time, and whose peer must read or be cut."""

    settings: ClassVar[Settings]
    _message_timer: asyncio.TimerHandle | None = None

    def handle_connect(self, event: Any) -> None:
        """Let the application write without a task's detour."""
        super().handle_connect(event)
        if not self.close_sent:
            scope: dict[str, Any] = {**self.scope}
            scope["extensions"][WRITE] = self.write_now

    def write_now(self, frames: bytes) -> bool:
        """Write; False, and nothing is written, where the peer does not keep up or is gone."""
        if self._is_over() or not self.writable.is_set():
            return False
        self.transport.write(frames)
        return True

    def data_received(self, data: bytes) -> None:
        """Count the time of a message from its first byte, anew for each."""
        whole = self._messages
        super().data_received(data)
        if self._message_timer is not None and (self._messages != whole or not self._amid_a_message()):
            self._message_timer.cancel()
            self._message_timer = None
        if self._message_timer is None and self._amid_a_message():
            self._message_timer = self.loop.call_later(self.settings.message_timeout_s, self._too_slow)

    _messages = 0

    def send_receive_event_to_app(self) -> None:
        """A message is whole. uvicorn stops reading after each; a few small ones may wait, which is cheaper."""
        self._messages += 1
        paused, small = self.read_paused, sum(map(len, self.frames)) <= _SMALL and self.queue.qsize() < _AHEAD
        self.read_paused = paused or small
        super().send_receive_event_to_app()
        if small:
            self.read_paused = paused

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        if self._message_timer is not None:
            self._message_timer.cancel()
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """Frames that are built already go out as they are; a close frame does not wait for room to be told last."""
        if message.get("framed"):
            await self.writable.wait()
            if self._is_over():
                raise ClientDisconnected
            self.transport.write(message["bytes"])
            return
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.close":
            self.loop.call_later(_DRAIN_S, self._abort)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """What was to be said is said: a peer that does not read it is cut."""
        super().on_task_complete(task)
        self.loop.call_later(_DRAIN_S, self._abort)

    def shutdown(self) -> None:
        """Say 1012; and where the peer does not read, close all the same."""
        super().shutdown()
        self.loop.call_later(_DRAIN_S, self._abort)

    def _is_over(self) -> bool:
        """Whether nothing may follow any more what was said."""
        return self.disconnected or self.close_sent or self.transport.is_closing()

    def _abort(self) -> None:
        if not self.disconnected:
            self.transport.abort()

    def _amid_a_message(self) -> bool:
        if not self.handshake_complete or self.close_sent:
            return False
        # The innermost of websockets' parsers waits for a frame (at_eof) or for the rest of one (read_exact).
        parser: Any = self.conn.parser
        while (inner := getattr(parser, "gi_yieldfrom", None)) is not None:
            parser = inner
        return bool(self.frames) or getattr(parser, "__name__", "") == "read_exact"

    def _too_slow(self) -> None:
        self._message_timer = None
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(1008, "a message must come in time")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1008})
        self.transport.close()
        self.loop.call_later(_LAST_WORDS_S, self._abort)


def with_limits(settings: Settings) -> tuple[type[PatientHttp], type[PatientWebSocket]]:
    """Both protocols, held to the settings of a service."""
    http = type("PatientHttp", (PatientHttp,), {"settings": settings})
    websocket = type("PatientWebSocket", (PatientWebSocket,), {"settings": settings})
    return http, websocket
