"""Live streams: events go in frame by frame, and survive a broken connection."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from polychrony_client.errors import (
    EventsLost,
    Refused,
    RowsGone,
    TimedOut,
    Unreachable,
    lost_events,
    told_gone,
    told_lost,
)
from polychrony_client.inbox import Inbox
from polychrony_client.outbox import Draft, Outbox
from polychrony_client.results import Result
from polychrony_client.subscribe import read, subscribe
from polychrony_client.transport import Transport, is_lost


class Stream:
    """An open stream; made by :meth:`Client.stream`. Use it from one thread.

    Attributes:
        id: its name.
        description: what the service said of it.
        reconnects: how often the connection broke and was resumed.
    """

    def __init__(self, transport: Transport, description: dict[str, Any]) -> None:
        self.id: str = description["id"]
        self.description = description
        self.reconnects = 0
        self._transport, self._patience_s = transport, transport.patience_s
        self._socket: ClientConnection | None = None
        self._out = Outbox()
        if description.get("source") is None:
            self._connect()

    def send(
        self, events: Any, x: ArrayLike | None = None, y: ArrayLike | None = None, p: ArrayLike | None = None,
        *, columns: str | None = None, unit: str | None = None,
    ) -> None:  # fmt: skip
        """Send events; waits where the service asks to. A batch that is not in order of time is sorted.

        Args:
            events: times [n], integer us, with ``x``, ``y`` and ``p`` beside them; or all four in one: a tuple, a
                mapping or structured array with names such as t, x, y, p, or an array [n, 4] with ``columns``.
            x: pixel columns [n].
            y: pixel rows [n], below 32768.
            p: polarities [n]: 0/1, -1/1 or booleans.
            columns: the order of an array's columns, such as ``xytp``.
            unit: of the times: s, ms, us or ns; needed where they are floats.

        Raises:
            ValueError: columns that do not fit; nothing of them was sent.
            TimedOut: the service took nothing more for as long as the client's ``patience_s``.
        """
        for draft in self._out.events(events, x, y, p, columns, unit):
            self._put(draft)

    def send_camera_bytes(self, data: bytes, encoding: str, t_zero_us: int = 0) -> None:
        """Send bytes as the camera sent them, without a ``%`` header; any cut.

        Args:
            data: the bytes.
            encoding: ``EVT2`` or ``EVT3``.
            t_zero_us: stream time of the camera's time zero.
        """
        for draft in self._out.camera_bytes(data, encoding, t_zero_us):
            self._put(draft)

    def send_triggers(self, t: ArrayLike, channel: ArrayLike, level: ArrayLike) -> None:
        """Send edges on the camera's trigger inputs; they come out of the output ``triggers``.

        Args:
            t: times [n], integer us, never falling.
            channel: inputs [n], below 65536.
            level: 1 for rising, 0 for falling [n].

        Raises:
            ValueError: columns that do not fit; nothing of them was sent.
        """
        for draft in self._out.triggers(t, channel, level):
            self._put(draft)

    def heartbeat(self, t_us: int) -> None:
        """Say that no later event is earlier than ``t_us``, so that open bins can close."""
        self._put(self._out.heartbeat(t_us))

    def label(self, output: str, label: str | None, from_us: int, to_us: int) -> None:
        """Say what was seen in (from_us, to_us], so that a stage with ``learn`` learns it.

        Args:
            output: of the stage.
            label: one of its labels; None to forget all that labels have taught it.
            from_us: stream time, us.
            to_us: likewise; within what the stage remembers (``learn.memory_us``).
        """
        self._put(self._out.label(output, label, from_us, to_us))

    def gap(self, t_us: int) -> None:
        """Say that events before ``t_us`` were lost."""
        self._put(self._out.gap(t_us))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the service has everything for good.

        Args:
            timeout_s: raise :class:`TimedOut` where nothing went on for so long; default: ``patience_s``.
        """
        self._wait(lambda: self._out.unacknowledged == 0, "flush", timeout_s or self._patience_s)

    def end(self, t_us: int | None = None, timeout_s: float = 600.0) -> dict[str, Any]:
        """End the stream and wait until all results exist.

        Args:
            t_us: time of the end; by default the newest that was sent.
            timeout_s: raise :class:`TimedOut` where nothing went on for so long.

        Returns:
            {"rows": {output: n}, "digests": {output: SHA-256}, "dropped": {reason: n}}; what was dropped or shed also
            gives a warning, :class:`EventsLost`.
        """
        if self._out.final is None:
            self._put(self._out.end(t_us))
        self._wait(lambda: self._out.final is not None, "end", timeout_s)
        self.close()
        final = {**(self._out.final or {}), "dropped": self.stats()["dropped"]}
        if lost := lost_events(final):
            warnings.warn(told_lost(self.id, lost), EventsLost, stacklevel=2)
        return final

    def results(
        self,
        *outputs: str,
        start: bool = True,
        after: dict[str, int] | None = None,
        lossless: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[Result]:
        """Results as they come to be, until the stream ends; on a connection of its own.

        Args:
            outputs: all of them where none is named.
            start: from the first row on; else from now on.
            after: rows behind this one, by output.
            lossless: the sender is held back where this reader is slow.
            timeout_s: raise :class:`TimedOut` where nothing came for so long; a quiet stream gives nothing, so by
                default there is no limit while the connection lives.
        """
        return subscribe(self._transport, self.id, outputs, start, after, lossless, timeout_s)

    def rows(self, output: str) -> dict[str, NDArray[Any]]:
        """All rows of an output of an ended stream, as columns; of an output of events, the sample that is sent.

        Where the service no longer keeps all of them it gives a warning, :class:`RowsGone`.
        """
        inbox = Inbox(self.id, (output,), True, None, False)
        columns, gone = inbox.columns(list(read(self._transport, inbox, self._patience_s)), output)
        if gone:
            warnings.warn(told_gone(self.id, output, gone), RowsGone, stacklevel=2)
        return columns

    def labels(self, output: str) -> list[dict[str, Any]]:
        """What the labels of an output's rows stand for: name, direction_deg, speed_px_per_ms."""
        with self._transport.connect(f"/v1/streams/{self.id}/results?output={output}") as socket:
            hello = json.loads(socket.recv(timeout=self._patience_s))
        return hello["outputs"][0]["labels"]

    def stats(self) -> dict[str, Any]:
        """What went in, what came out, what was dropped."""
        return self._transport.request("GET", f"/v1/streams/{self.id}/stats").json()

    def snapshot(self) -> bytes:
        """The stream's state after the frames that it has processed; :meth:`Client.restore` goes on from it."""
        return self._transport.request("GET", f"/v1/streams/{self.id}/snapshot").content

    def record(self, on: bool = True) -> None:
        """Record what is sent from now on, or stop that; waits until the service has what was sent before."""
        self.flush()
        self._transport.request("PUT", f"/v1/streams/{self.id}/recording", json={"on": on})

    def recording(self) -> bytes:
        """The frames that came while the stream was recorded: ``record=True``, or :meth:`record`."""
        return self._transport.request("GET", f"/v1/streams/{self.id}/recording").content

    def admission(self) -> str:
        """What a realtime stream shed, as lines of JSON; `polychrony replay --admission` follows it."""
        return self._transport.request("GET", f"/v1/streams/{self.id}/admission").text

    def delete(self) -> None:
        """Forget the stream."""
        self.close()
        self._transport.request("DELETE", f"/v1/streams/{self.id}")

    def close(self) -> None:
        """Let go of the connection; the stream stays and can be resumed until its time-out."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._socket is not None:
            self.end()
        self.close()

    def _put(self, draft: Draft) -> None:
        self._wait(lambda: self._out.has_room(draft), "send", self._patience_s)
        data = self._out.take(draft)
        try:
            self._live().send(data)
        except ConnectionClosed as problem:
            self._reconnect(problem)
        self._pump(0)

    def _wait(self, met: Callable[[], bool], call: str, timeout_s: float) -> None:
        """Take in what the service says until a condition is met.

        Raises:
            TimedOut: nothing changed for so long.
        """
        deadline, seen = time.monotonic() + timeout_s, self._out.progress
        while not met():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimedOut(f"{call}: nothing went on for {timeout_s:g} s")
            self._pump(left_s)
            if self._out.progress != seen:
                deadline, seen = time.monotonic() + timeout_s, self._out.progress

    def _pump(self, wait_s: float) -> None:
        """Take in what the service says; waits for one message at most."""
        try:
            while True:
                self._out.hear(json.loads(self._live().recv(timeout=wait_s)))
                if self._out.final is not None:
                    return
                wait_s = 0
        except TimeoutError:
            return
        except ConnectionClosed as problem:
            self._reconnect(problem)

    def _connect(self) -> None:
        """Connect, and send again what the service does not have."""
        socket = self._transport.connect(f"/v1/streams/{self.id}/ingest")
        try:
            again = self._out.resume(json.loads(socket.recv(timeout=self._patience_s)))
            for sent in again:
                while not self._out.fits(sent):
                    self._out.hear(json.loads(socket.recv(timeout=self._patience_s)))
                socket.send(sent.data)
        except BaseException:
            socket.close()
            raise
        self._socket = socket

    def _reconnect(self, problem: ConnectionClosed) -> None:
        if self._out.final is not None:
            return
        fault = self._out.closed(problem.rcvd.code if problem.rcvd else 1006)
        if fault is not None:
            raise fault from problem
        if self._socket is not None:
            self._socket.close()
        deadline, pause = time.monotonic() + self._patience_s, 0.05
        while True:
            time.sleep(pause)
            pause = min(2.0, pause * 2)
            try:
                self._connect()
            except (OSError, ConnectionClosed, InvalidHandshake, Refused, Unreachable) as reason:
                if is_lost(reason) or time.monotonic() > deadline:
                    raise Unreachable(f"the connection broke and could not be resumed: {reason}") from reason
            else:
                self.reconnects += 1
                return

    def _live(self) -> ClientConnection:
        if self._socket is None:
            raise ValueError("the stream is closed, or the service feeds it itself")
        return self._socket
