"""uvicorn's protocols with limits on time: a client that dribbles, or does not read, is closed.

uvicorn waits for ever for the rest of a header, for the rest of a message, and for a peer to read what it is sent
before it closes. (Considered: a front server that does so. It would be one more part for every box to configure; the
subclasses here are what is missing, and tests/reliability holds them to it.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from service.host import descriptors
from service.http.extensions import WRITE
from service.serving.frame_reader import Pieces
from service.settings import Settings

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
)
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BAD = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
_WHY = b"a WebSocket begins with GET, HTTP/1.1 and no body"
_NO_UPGRADE = _BAD + b"Content-Length: " + str(len(_WHY)).encode() + b"\r\n\r\n" + _WHY
_MOST_HEAD = 65_536
"""Bytes of a request's header; also of what may come between two bytes of a body, such as extensions of a chunk."""
_LEAST_PIECE, _MOST_PIECE, _MANY_CALLS = 4096, 32_768, 64
"""Bytes that are parsed at once; fewer where the piece before called back so often."""
_LAST_WORDS_S = 1.0
"""How long a peer has to read what it was told last."""
_DRAIN_S = 2.0
_SMALL, _AHEAD = 262_144, 8
"""Messages of so many bytes, and so many of them, may wait without reading being stopped."""
_READ_BYTES = 2**20
"""Bytes that are read from a WebSocket at once: asyncio's own 256 KiB hold two or three frames of a camera."""
_FRAMES_A_TURN = 64
"""Frames of a WebSocket, pings too, that are worked on before others have their turn."""


class _Flow(FlowControl):
    """uvicorn's, which lets the protocol decide when to read on."""

    def __init__(self, transport: asyncio.Transport, resumed: Callable[[], None]) -> None:
        super().__init__(transport)
        self._resumed = resumed

    def resume_reading(self) -> None:
        """The application has taken what came."""
        if self.read_paused:
            self.read_paused = False
            self._resumed()


class _Lingering:
    """What a request's answer is written to: a close while its body still comes waits until the answer was read.

    A socket that is closed with bytes unread is reset, and the answer is lost with it.
    """

    def __init__(self, protocol: PatientHttp) -> None:
        self._protocol, self.write = protocol, protocol.transport.write

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._protocol.deaf or self._protocol.transport.is_closing()

    def close(self) -> None:
        """See asyncio."""
        self._protocol.close_politely()


class PatientHttp(HttpToolsProtocol):
    """HTTP whose request headers must come in time, and whose work is bounded per turn of the loop.

    What has come is parsed in pieces, between which others have their turn: a piece in which much happens (a body of
    one-byte chunks) is followed by smaller ones.
    """

    settings: ClassVar[Settings]
    _header_timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None
    _body_whole = _headers_done = True
    _scheduled = _early = False
    _piece = _LEAST_PIECE
    _calls = _silent = 0
    deaf = False
    """What comes is not looked at any more."""

    def connection_made(self, transport: Any) -> None:
        """Refuse more connections than there may be; else wait for a header, not for ever."""
        super().connection_made(transport)
        self._unparsed = bytearray()
        self.flow = _Flow(transport, self._go_on)
        if len(self.connections) > self.settings.max_connections or self._is_last_descriptor():
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._await_header()

    def data_received(self, data: bytes) -> None:
        """Parse what came, a piece now and the rest when others had their turn."""
        if self.deaf or self.transport.is_closing():
            return
        self._unparsed += data
        if not self._scheduled and not self.flow.read_paused:
            self._parse_some()
        elif self._unparsed:
            self.transport.pause_reading()

    def _go_on(self) -> None:
        if self.deaf or self.transport.is_closing():
            return
        if not self._unparsed:
            self.transport.resume_reading()
        elif not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._parse_some)

    def _parse_some(self) -> None:
        """One piece."""
        self._scheduled = False
        if self.deaf or self.transport.is_closing() or self.parser is None:
            self._unparsed.clear()
            return
        piece = bytes(self._unparsed[: self._piece])
        del self._unparsed[: self._piece]
        self._calls, self._silent = 0, self._silent + len(piece)
        super().data_received(piece)
        self._piece = min(4 * self._piece, _MOST_PIECE) if self._calls < _MANY_CALLS else _LEAST_PIECE
        if self._silent > _MOST_HEAD:
            self._refuse(_TOO_LARGE)
        elif self.transport.get_protocol() is self and not self.flow.read_paused:
            if self._unparsed:
                self.transport.pause_reading()
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._header_came()
        self._reads_again()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """From here on another protocol counts; it would leave without an answer what it does not read."""
        self._header_came()
        self._unparsed.clear()
        if (refusal := self._no_handshake()) is not None:
            self._refuse(refusal)
            return
        super().handle_websocket_upgrade()
        self.transport.resume_reading()  # what came in pieces may have paused it

    def _no_handshake(self) -> bytes | None:
        """The answer to an upgrade that ``websockets`` does not read; None where it does."""
        headers, longest = self.headers, MAX_LINE_LENGTH - len("\r\n")
        line = len(self.scope["method"]) + len(self.url) + len("  HTTP/1.1")
        lines = [line, *(len(name) + len(value) + len(": ") for name, value in headers)]
        if len(headers) > MAX_NUM_HEADERS or max(lines) > longest:
            return _TOO_LARGE
        body = {value.strip(b"0 ") for name, value in headers if name == b"content-length"} - {b""}
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        if self.scope["method"] != "GET" or self.scope["http_version"] != "1.1" or body or chunked:
            return _NO_UPGRADE
        return None

    def send_400_response(self, msg: str) -> None:
        """What cannot be read is answered so that the answer arrives."""
        n = str(len(msg)).encode()
        self._refuse(_BAD + b"Content-Length: " + n + b"\r\n\r\n" + msg.encode())

    def on_message_begin(self) -> None:
        """Count the time of a header from its first byte."""
        super().on_message_begin()
        self._headers_done = False
        if self._header_timer is None:
            self._await_header()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers behind a body are nobody's."""
        self._calls += 1
        if not self._headers_done:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """It came."""
        self._header_came()
        self._headers_done, self._body_whole, self._silent = True, False, 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            lingering: Any = _Lingering(self)
            self.cycle.transport = lingering

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self._calls, self._silent = self._calls + 1, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of a request is here."""
        self._body_whole, self._silent = True, 0
        super().on_message_complete()
        early, self._early = self._early, False
        if early and not self.transport.is_closing():  # from here on it idles, as after any other request
            self._header_came()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Whoever was answered before its body was whole may send the rest, which nobody reads, but not for ever."""
        super().on_response_complete()
        if not self._body_whole and not self.deaf and not self.transport.is_closing():
            self._early = True
            self._await_header()

    def close_politely(self) -> None:
        """Close, once the peer had time to read what it was told, where it is still sending."""
        if self._body_whole or self.transport.is_closing():
            self.transport.close()
            return
        self.deaf = True
        self._unparsed.clear()
        self.transport.resume_reading()
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
        except OSError:  # the peer has gone without waiting
            self.transport.abort()
            return
        self.loop.call_later(_LAST_WORDS_S, self.transport.abort)

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

    def _is_last_descriptor(self) -> bool:
        """Whether the service's own work would soon lack descriptors: the lowest free number is the next one's."""
        return self.transport.get_extra_info("socket").fileno() >= descriptors.for_connections()

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
        self._refuse(_TOO_SLOW)

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing() and not self.deaf:
            self.transport.write(answer)
            self._body_whole = False
            self.close_politely()


class PatientWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose messages must come in time, and whose peer must read or be cut."""

    settings: ClassVar[Settings]
    _message_timer: asyncio.TimerHandle | None = None
    _turn_due = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pieces = self.conn.reader = Pieces()
        self.conn.parser = self.conn.parse()  # anew, as the one that has begun asks the reader that was there
        next(self.conn.parser)

    def connection_made(self, transport: Any) -> None:
        """Read much at once."""
        super().connection_made(transport)
        transport.max_size = _READ_BYTES

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
        """Work on some of the frames that came; on the rest when others had their turn."""
        whole = self._messages
        self._pieces.turn = _FRAMES_A_TURN
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()
            return
        self._time_message(self._messages != whole)
        if self._pieces.held:
            self.transport.pause_reading()
            if not self.read_paused:
                self._ask_turn()
        else:
            self._pieces.let_go()

    async def receive(self) -> Any:
        """The next message; behind the last that waited, more is read, or taken from what was."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self._pieces.held:
                self._ask_turn()
            else:
                self.transport.resume_reading()
        return message

    def _ask_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_due = False
        if not self.transport.is_closing():
            self.data_received(b"")
            if not self._pieces.held and not self.read_paused:
                self.transport.resume_reading()

    def _time_message(self, is_another: bool) -> None:
        """Count the time of a message from its first byte, anew for each."""
        amid = self._amid_a_message()
        if self._message_timer is not None and (is_another or not amid):
            self._message_timer.cancel()
            self._message_timer = None
        if self._message_timer is None and amid:
            self._message_timer = self.loop.call_later(self.settings.message_timeout_s, self._too_slow)

    _messages = 0

    def _refuse_handshake(self) -> None:
        """What should be a handshake cannot be read: uvicorn would wait for ever."""
        self.close_sent = self.handshake_complete = True
        if not self.transport.is_closing():
            self.transport.write(_NO_UPGRADE)
            self.transport.close()

    def handle_ping(self) -> None:
        """Answer, unless the peer does not read: pongs must not pile up, and it is the last one that counts."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)

    def send_receive_event_to_app(self) -> None:
        """A message is whole. uvicorn stops reading after each; a few small ones may wait, which is cheaper."""
        self._messages += 1
        paused, small = self.read_paused, sum(map(len, self.frames)) <= _SMALL and self.queue.qsize() < _AHEAD
        self.read_paused = paused or small
        super().send_receive_event_to_app()
        if small:
            self.read_paused = paused

    def keepalive_timeout(self) -> None:
        """A ping was not answered: one that lies behind bytes that nobody reads says nothing yet."""
        if self.transport.get_write_buffer_size() == 0 or self._is_over():
            super().keepalive_timeout()
            self.loop.call_later(_LAST_WORDS_S, self._abort)
            return
        left_s = self.settings.slow_subscriber_s - (self.loop.time() - self.ping_sent_at)
        if left_s > 0:
            self.pong_timer = self.loop.call_later(left_s, self.keepalive_timeout)
        else:
            self._fail(1008, "does not read")

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
        if not self.close_sent and not self.transport.is_closing():
            self._fail(1008, "a message must come in time")

    def _fail(self, code: int, why: str) -> None:
        """Close for a reason of the connection's own."""
        self.conn.fail(code, why)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.transport.close()
        self.loop.call_later(_LAST_WORDS_S, self._abort)


def with_limits(settings: Settings) -> tuple[type[PatientHttp], type[PatientWebSocket]]:
    """Both protocols, held to the settings of a service."""
    http = type("PatientHttp", (PatientHttp,), {"settings": settings})
    websocket = type("PatientWebSocket", (PatientWebSocket,), {"settings": settings})
    return http, websocket
