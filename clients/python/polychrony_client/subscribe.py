"""Reading the results of a stream, on a connection of its own that is made anew when it breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake
from websockets.sync.client import ClientConnection

from polychrony_client.errors import Refused, TimedOut, Unreachable
from polychrony_client.inbox import Inbox
from polychrony_client.results import Result
from polychrony_client.transport import Transport, is_lost


def subscribe(
    transport: Transport, stream_id: str, outputs: tuple[str, ...],
    start: bool, after: dict[str, int] | None, lossless: bool, timeout_s: float | None = None,
) -> Iterator[Result]:  # fmt: skip
    """Results as they come to be, until the stream ends; connected before this returns."""
    inbox = Inbox(stream_id, outputs, start, after, lossless)
    return read(transport, inbox, timeout_s)


def read(transport: Transport, inbox: Inbox, timeout_s: float | None = None) -> Iterator[Result]:
    """What an inbox is to read."""
    return _iterate(transport, inbox, transport.connect(inbox.path()), timeout_s)


def _iterate(
    transport: Transport, inbox: Inbox, socket: ClientConnection, timeout_s: float | None
) -> Iterator[Result]:
    """Results, over as many connections as it takes; every row once.

    Raises:
        Closed: the service closed for a fault.
        Unreachable: it went away and did not come back.
        TimedOut: nothing came for so long.
    """
    try:
        while True:
            try:
                for message in _messages(socket, timeout_s):
                    if (result := inbox.take(message)) is not None:
                        yield result
                    if inbox.over:
                        return
                code = 1001  # closed without a word of the end: it went away
            except ConnectionClosed as problem:
                code = problem.rcvd.code if problem.rcvd else 1006
                if (fault := inbox.closed(code)) is not None:
                    raise fault from problem
            else:
                inbox.closed(code)
            socket.close()
            socket = _again(transport, inbox)
    finally:
        socket.close()


def _messages(socket: ClientConnection, timeout_s: float | None) -> Iterator[str | bytes]:
    """Messages until the connection is closed in order."""
    while True:
        try:
            yield socket.recv(timeout=timeout_s)
        except ConnectionClosedOK:
            return
        except TimeoutError as problem:
            raise TimedOut(f"results: nothing came for {timeout_s:g} s") from problem


def _again(transport: Transport, inbox: Inbox) -> ClientConnection:
    deadline, pause = time.monotonic() + transport.patience_s, 0.05
    while True:
        time.sleep(pause)
        pause = min(2.0, pause * 2)
        try:
            return transport.connect(inbox.path())
        except (OSError, ConnectionClosed, InvalidHandshake, Refused, Unreachable) as reason:
            if is_lost(reason) or time.monotonic() > deadline:
                raise Unreachable(f"the connection broke and could not be resumed: {reason}") from reason
