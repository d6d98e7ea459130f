"""Live streams: events go in frame by frame, and survive a broken connection."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection

from polychrony_client import wire
from polychrony_client.errors import Closed, Refused, Unreachable
from polychrony_client.results import Result, Rows
from polychrony_client.subscribe import subscribe
from polychrony_client.transport import Transport

_FRAME_EVENTS = 32_768
_RETRIED = {1001, 1005, 1006, 1011, 1012}


@dataclass
class _Sent:
    """A frame that may have to be sent again, and where it ends in the sequence of bytes."""

    number: int
    data: bytes
    end: int


class Stream:
    """An open stream; made by :meth:`Client.stream`. Use it from one thread.

    Attributes:
        id: its name.
        description: what the service said of it.
    """

    def __init__(self, transport: Transport, description: dict[str, Any]) -> None:
        self.id: str = description["id"]
        self.description = description
        self._transport, self._patience_s = transport, transport.patience_s
        self._socket: ClientConnection | None = None
        self._number = self._bytes = self._limit = 0
        self._t_us = 0
        self._kept: deque[_Sent] = deque()
        self._final: dict[str, Any] | None = None
        self._connect()

    def send(self, t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> None:
        """Send events in arrival order; waits where the service asks to.

        Args:
            t: times [n], integer us.
            x: pixel columns [n].
            y: pixel rows [n], below 32768.
            p: polarities [n], true or above 0 = ON.

        Raises:
            ValueError: columns that do not fit; nothing of them was sent.
        """
        columns = [np.asarray(column) for column in (t, x, y, p)]
        times: NDArray[np.int64] = columns[0].astype(np.int64, copy=False)
        n = len(times)
        if any(len(column) != n for column in columns):
            raise ValueError("t, x, y, p must be equally long")
        for name, column, largest in zip("txy", columns, (2**53 - 1, 65535, 32767), strict=False):
            if n and column.dtype.kind not in "iu":
                raise ValueError(f"{name} must be integers, not {column.dtype}")
            if n and not 0 <= int(column.min()) <= int(column.max()) <= largest:
                raise ValueError(f"{name} must lie in 0 .. {largest}")
        start = 0
        while start < n:
            stop = min(n, start + _FRAME_EVENTS)
            part = times[start:stop]
            breaks = np.flatnonzero((np.diff(part) < 0) | (part[1:] - part[0] > wire.LARGEST_STEP_US))
            if len(breaks):
                stop = start + int(breaks[0]) + 1
            t_us, payload = wire.pack_events(times[start:stop], *(c[start:stop] for c in columns[1:]))
            self._put(wire.EVENTS, wire.AER64, t_us, stop - start, payload)
            self._t_us = max(self._t_us, int(times[stop - 1]))
            start = stop

    def send_camera_bytes(self, data: bytes, encoding: str, t_zero_us: int = 0) -> None:
        """Send EVT2 or EVT3 bytes as the camera gave them, however they are cut.

        Args:
            data: without any ``%`` header.
            encoding: ``EVT2`` or ``EVT3``.
            t_zero_us: stream time of the camera's time zero.
        """
        code = {"EVT2": wire.EVT2, "EVT3": wire.EVT3}[encoding]
        for start in range(0, len(data), _FRAME_EVENTS * 8):
            part = data[start : start + _FRAME_EVENTS * 8]
            self._put(wire.EVENTS, code, t_zero_us, len(part), part)

    def send_triggers(self, t: ArrayLike, channel: ArrayLike, level: ArrayLike) -> None:
        """Send edges on the camera's trigger inputs; they come out of the output ``triggers``.

        Args:
            t: times [n], integer us, never falling.
            channel: inputs [n], below 65536.
            level: 1 for rising, 0 for falling [n].

        Raises:
            ValueError: columns that do not fit; nothing of them was sent.
        """
        times = np.asarray(t).astype(np.int64, copy=False)
        columns = [np.asarray(channel), np.asarray(level)]
        if any(len(column) != len(times) for column in columns):
            raise ValueError("t, channel, level must be equally long")
        if len(times) and (np.any(np.diff(times) < 0) or not 0 <= int(times[0]) <= int(times[-1]) < 2**53):
            raise ValueError("t must lie in 0 .. 2^53 - 1 and never fall")
        start = 0
        while start < len(times):
            end = int(np.searchsorted(times, times[start] + wire.LARGEST_STEP_US, side="right"))
            stop = min(start + _FRAME_EVENTS, end)
            rows = np.empty(stop - start, wire.EDGE_ROW)
            rows["t"] = times[start:stop] - times[start]
            rows["channel"], rows["level"] = (column[start:stop] for column in columns)
            self._put(wire.EDGES, 0, int(times[start]), len(rows), rows.tobytes())
            start = stop

    def heartbeat(self, t_us: int) -> None:
        """Say that no later event is earlier than ``t_us``, so that open bins can close."""
        self._put(wire.HEARTBEAT, 0, t_us, 0)
        self._t_us = max(self._t_us, t_us)

    def label(self, output: str, label: str | None, from_us: int, to_us: int) -> None:
        """Say what was seen in (from_us, to_us], so that a stage with ``learn`` learns it.

        Args:
            output: of the stage.
            label: one of its labels; None to forget all that labels have taught it.
            from_us: stream time, us.
            to_us: likewise; within what the stage remembers (``learn.memory_us``).
        """
        document = json.dumps({"output": output, "label": label, "from_us": from_us, "to_us": to_us}).encode()
        self._put(wire.LABEL, 0, self._t_us, len(document), document)

    def gap(self, t_us: int) -> None:
        """Say that events before ``t_us`` were lost."""
        self._put(wire.GAP, 0, t_us, 0)

    def end(self, t_us: int | None = None) -> dict[str, Any]:
        """End the stream and wait until all results exist: {"rows": {...}, "digests": {...}}."""
        if self._final is None:
            self._put(wire.END, 0, self._t_us if t_us is None else t_us, 0)
        while self._final is None:
            self._pump(self._patience_s)
        self.close()
        return self._final

    def results(
        self, *outputs: str, start: bool = True, after: dict[str, int] | None = None, lossless: bool = False
    ) -> Iterator[Result]:
        """Results as they come to be, until the stream ends; on a connection of its own.

        Args:
            outputs: all of them where none is named.
            start: from the first row on; else from now on.
            after: rows behind this one, by output.
            lossless: the sender is held back where this reader is slow.
        """
        return subscribe(self._transport, self.id, outputs, start, after, lossless)

    def rows(self, output: str) -> dict[str, NDArray[Any]]:
        """All rows of an output of an ended stream, as columns; those the service still keeps."""
        parts = [one.columns for one in self.results(output) if isinstance(one, Rows)]
        names = list(parts[0]) if parts else ["t"]
        return {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in names}

    def labels(self, output: str) -> list[dict[str, Any]]:
        """What the labels of an output's rows stand for: name, direction_deg, speed_px_per_ms."""
        with self._transport.connect(f"/v1/streams/{self.id}/results?output={output}") as socket:
            hello = json.loads(socket.recv(timeout=self._patience_s))
        return hello["outputs"][0]["labels"]

    def stats(self) -> dict[str, Any]:
        """What went in, what came out, what was dropped."""
        return self._transport.request("GET", f"/v1/streams/{self.id}/stats").json()

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
        if kind is None:
            self.end()
        self.close()

    def _put(self, type_: int, code: int, t_us: int, count: int, payload: bytes = b"") -> None:
        if self._final is not None:
            raise ValueError("the stream has ended")
        data = wire.build(type_, code, self._number + 1, t_us, count, payload)
        while self._bytes + len(data) > self._limit:
            self._pump(self._patience_s)
        self._number += 1
        self._bytes += len(data)
        self._kept.append(_Sent(self._number, data, self._bytes))
        try:
            self._live().send(data)
        except ConnectionClosed as problem:
            self._reconnect(problem)
        self._pump(0)

    def _pump(self, wait_s: float) -> None:
        """Take in what the service says; waits for one message at most."""
        try:
            while True:
                self._hear(json.loads(self._live().recv(timeout=wait_s)))
                if self._final is not None:
                    return
                wait_s = 0
        except TimeoutError as problem:
            if wait_s:
                raise Unreachable(f"the service said nothing for {wait_s} s") from problem
        except ConnectionClosed as problem:
            self._reconnect(problem)

    def _hear(self, document: dict[str, Any]) -> None:
        kind = document["type"]
        if kind == "ack":
            self._limit = max(self._limit, document["limit"])
            while self._kept and self._kept[0].number <= document["durable"]:
                self._kept.popleft()
        elif kind == "end":
            self._final = document
        elif kind == "error":
            self._fault = document

    def _connect(self) -> None:
        """Connect, and send again what the service does not have."""
        self._fault: dict[str, Any] = {}
        socket = self._transport.connect(f"/v1/streams/{self.id}/ingest")
        ready = json.loads(socket.recv(timeout=self._patience_s))
        if ready["type"] != "ready":
            raise Closed(0, ready.get("code", ""), ready.get("detail", ""))
        self._socket = socket
        self._limit = ready["limit"]
        unsent = [
            sent for sent in self._kept if sent.number >= ready["resume_from"] and sent.data[5] != wire.END
        ]
        if ready.get("ended") and unsent:
            raise Closed(4410, "stream_ended", f"the stream ended before {len(unsent)} frames could be sent")
        for sent in list(self._kept):
            while sent.end > self._limit:
                self._hear(json.loads(socket.recv(timeout=self._patience_s)))
            if sent.number >= ready["resume_from"]:
                socket.send(sent.data)

    def _reconnect(self, problem: ConnectionClosed) -> None:
        if self._final is not None:
            return
        close = problem.rcvd.code if problem.rcvd else 1006
        if close not in _RETRIED or self._fault:
            raise Closed(close, self._fault.get("code", ""), self._fault.get("detail", "")) from problem
        deadline, pause = time.monotonic() + self._patience_s, 0.05
        while True:
            time.sleep(pause)
            pause = min(2.0, pause * 2)
            try:
                self._connect()
            except (OSError, ConnectionClosed, InvalidHandshake, Refused, Unreachable) as reason:
                lost = isinstance(reason, Refused) and reason.status not in {502, 503, 504}
                if lost or time.monotonic() > deadline:
                    raise Unreachable(f"the connection broke and could not be resumed: {reason}") from reason
            else:
                return

    def _live(self) -> ClientConnection:
        if self._socket is None:
            raise ValueError("the stream is closed")
        return self._socket
