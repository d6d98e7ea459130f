"""The sending side of a stream without any I/O: frames out, words of the service in.

Both clients drive this one object; what is a socket to them is nothing to it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from polychrony_client import wire
from polychrony_client.columns import columns_of
from polychrony_client.errors import Closed

FRAME_EVENTS = 32_768
RETRIED = frozenset({1001, 1005, 1006, 1011, 1012})
"""Close codes after which a connection is worth another try."""


@dataclass
class Sent:
    """A frame that may have to be sent again, and where it ends in the sequence of bytes."""

    number: int
    data: bytes
    end: int


@dataclass(frozen=True)
class Draft:
    """A frame that has no number yet."""

    type: int
    code: int
    t_us: int
    count: int
    payload: bytes = b""


class Outbox:
    """What was sent, what of it the service has, and how much more it takes.

    Attributes:
        final: what the service said at the end, once it has.
        fault: what it said before it closed for a fault.
        newest_us: the newest time that was sent.
        sorted_events: places where times fell within a batch, which was sorted.
    """

    def __init__(self) -> None:
        self.final: dict[str, Any] | None = None
        self.fault: dict[str, Any] = {}
        self.newest_us = self.sorted_events = 0
        self._number = self._bytes = self._limit = 0
        self._kept: deque[Sent] = deque()

    @property
    def unacknowledged(self) -> int:
        """Frames that the service may still ask for again."""
        return len(self._kept)

    @property
    def progress(self) -> tuple[int, int, bool]:
        """What changes as the service goes on."""
        return self._limit, self._kept[0].number if self._kept else -1, self.final is not None

    def has_room(self, draft: Draft) -> bool:
        """Whether the service takes one more frame now."""
        return self._bytes + wire.HEADER.size + len(draft.payload) <= self._limit

    def take(self, draft: Draft) -> bytes:
        """Number a frame and keep it until the service has it for good; what to send.

        Raises:
            ValueError: the stream has ended.
        """
        if self.final is not None:
            raise ValueError("the stream has ended")
        self._number += 1
        data = wire.build(draft.type, draft.code, self._number, draft.t_us, draft.count, draft.payload)
        self._bytes += len(data)
        self._kept.append(Sent(self._number, data, self._bytes))
        return data

    def hear(self, document: dict[str, Any]) -> None:
        """Take in what the service says."""
        kind = document["type"]
        if kind == "ack":
            self._limit = max(self._limit, document["limit"])
            while self._kept and self._kept[0].number <= document["durable"]:
                self._kept.popleft()
        elif kind == "end":
            self.final = document
        elif kind == "error":
            self.fault = document

    def resume(self, ready: dict[str, Any]) -> list[Sent]:
        """The frames to send (again) on a new connection.

        Raises:
            Closed: it was no ``ready``, or the stream ended before these frames came.
        """
        self.fault = {}
        if ready["type"] != "ready":
            raise Closed(0, ready.get("code", ""), ready.get("detail", ""))
        self._limit = ready["limit"]
        if (
            self._number == 0 and ready["resume_from"] > 1
        ):  # another client sent these, or a snapshot holds them
            self._number = ready["resume_from"] - 1
            self._bytes = ready.get("sent", 0)
        again = [sent for sent in self._kept if sent.number >= ready["resume_from"]]
        lost = [sent for sent in again if sent.data[5] != wire.END]
        if ready.get("ended") and lost:
            raise Closed(4410, "stream_ended", f"the stream ended before {len(lost)} frames could be sent")
        return again

    def fits(self, sent: Sent) -> bool:
        """Whether the service takes a frame that it had room for once, on this connection already."""
        return sent.end <= self._limit

    def closed(self, code: int) -> Closed | None:
        """The error that a connection ended with; None where it may be resumed."""
        if code in RETRIED and not self.fault:
            return None
        return Closed(code, self.fault.get("code", ""), self.fault.get("detail", ""))

    def events(
        self, events: Any, x: ArrayLike | None = None, y: ArrayLike | None = None, p: ArrayLike | None = None,
        columns: str | None = None, unit: str | None = None,
    ) -> Iterator[Draft]:  # fmt: skip
        """Frames of events in any form that :func:`columns_of` takes; a batch that is not in order of time is sorted.

        Raises:
            ValueError: columns that do not fit; nothing of them is sent.
        """
        taken = columns_of(events, x, y, p, columns, unit)
        times = taken[0]
        n = len(times)
        if n and np.any(times[1:] < times[:-1]):
            order = np.argsort(times, kind="stable")
            self.sorted_events += int(np.count_nonzero(times[1:] < times[:-1]))
            taken = taken[0][order], taken[1][order], taken[2][order], taken[3][order]
            times = taken[0]
        start = 0
        while start < n:
            stop = min(n, start + FRAME_EVENTS)
            if times[stop - 1] - times[start] > wire.LARGEST_STEP_US:
                stop = int(np.searchsorted(times, times[start] + wire.LARGEST_STEP_US, side="right"))
            part = slice(start, stop)
            t_us, payload = wire.pack_events(times[part], taken[1][part], taken[2][part], taken[3][part])
            self.newest_us = max(self.newest_us, int(times[stop - 1]))
            yield Draft(wire.EVENTS, wire.AER64, t_us, stop - start, payload)
            start = stop

    def camera_bytes(self, data: bytes, encoding: str, t_zero_us: int) -> Iterator[Draft]:
        """Frames of bytes as a camera sent them; any cut."""
        code = {"EVT2": wire.EVT2, "EVT3": wire.EVT3}[encoding]
        for start in range(0, len(data), FRAME_EVENTS * 8):
            part = data[start : start + FRAME_EVENTS * 8]
            yield Draft(wire.EVENTS, code, t_zero_us, len(part), part)

    def triggers(self, t: ArrayLike, channel: ArrayLike, level: ArrayLike) -> Iterator[Draft]:
        """Frames of edges on trigger inputs.

        Raises:
            ValueError: columns that do not fit.
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
            stop = min(start + FRAME_EVENTS, end)
            rows = np.empty(stop - start, wire.EDGE_ROW)
            rows["t"] = times[start:stop] - times[start]
            rows["channel"], rows["level"] = (column[start:stop] for column in columns)
            yield Draft(wire.EDGES, 0, int(times[start]), len(rows), rows.tobytes())
            start = stop

    def heartbeat(self, t_us: int) -> Draft:
        """No later event is earlier than ``t_us``."""
        self.newest_us = max(self.newest_us, t_us)
        return Draft(wire.HEARTBEAT, 0, t_us, 0)

    def gap(self, t_us: int) -> Draft:
        """Events before ``t_us`` were lost."""
        return Draft(wire.GAP, 0, t_us, 0)

    def label(self, output: str, label: str | None, from_us: int, to_us: int) -> Draft:
        """What was seen in (from_us, to_us]."""
        text = json.dumps({"output": output, "label": label, "from_us": from_us, "to_us": to_us}).encode()
        return Draft(wire.LABEL, 0, self.newest_us, len(text), text)

    def end(self, t_us: int | None) -> Draft:
        """The end of the stream."""
        return Draft(wire.END, 0, self.newest_us if t_us is None else t_us, 0)
