"""Which frames a stream lets in: order, encoding, limits. No I/O; frames in, decisions out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace

import numpy as np

from kernels.coding.events import first_fall_aer64
from kernels.columns import U64
from pipeline import wire
from pipeline.wire import BadFrame, Frame

MAX_T_US = 2**53 - 1
BAD_FRAME, NO_STREAM, SEQUENCE_GAP, SUPERSEDED = 4400, 4404, 4409, 4410
POLICY, TOO_LARGE, FAULT, RESTART = 1008, 1009, 1011, 1012
_LABEL_KEYS = {"output", "label", "from_us", "to_us"}


class Refused(Exception):
    """A frame that ends the connection.

    Args:
        close: WebSocket close code.
        code: a word for machines.
        detail: one line for people; never echoes input.
    """

    def __init__(self, close: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.close, self.code, self.detail = close, code, detail


@dataclass(frozen=True)
class Admitted:
    """A frame that came in, as it waits for the runner."""

    frame: Frame
    raw: bytes
    at_s: float
    """When it came, on the monotonic clock."""
    rows: U64 | None = None
    """Its events, where it holds plain rows."""


@dataclass
class Gate:
    """What decides on frames.

    Attributes:
        max_frame_bytes: larger ones are refused, header included.
        accepted: sequence number of the last frame let in.
        accepted_bytes: bytes of all frames up to that one.
        limit: position that the client may have sent up to.
        encoding: code of the events frames, once the first has come.
        ended: whether an ``end`` has come.
    """

    max_frame_bytes: int
    limit: int
    accepted: int = 0
    accepted_bytes: int = 0
    encoding: int | None = None
    ended: bool = False
    duplicates: int = field(default=0)

    def admit(self, raw: bytes) -> Admitted | None:
        """Let a frame in, or None for one that came before; nothing of a bad frame is taken.

        What is in an events frame is looked at by :func:`verify`, in another thread: it takes longest.

        Raises:
            Refused: it may not come in.
        """
        if len(raw) > self.max_frame_bytes:
            raise Refused(TOO_LARGE, "frame_too_large", f"a frame has at most {self.max_frame_bytes} bytes")
        try:
            frame = wire.head(raw)
        except BadFrame as problem:
            raise Refused(BAD_FRAME, "bad_frame", str(problem)) from problem
        if frame.type != wire.EVENTS or frame.number != self.accepted + 1:
            _check_sum(raw)
        if not wire.EVENTS <= frame.type <= wire.EDGES:
            raise Refused(BAD_FRAME, "bad_frame", f"type {frame.type}: allowed are 1 to 6")
        if frame.number == 0:
            raise Refused(BAD_FRAME, "bad_frame", "sequence numbers start at 1")
        if frame.number <= self.accepted or (self.ended and frame.type == wire.END):
            self.duplicates += 1
            return None
        self._check_order(frame, len(raw))
        self._check_header(frame)
        if frame.type == wire.EDGES:
            _check_times(frame, "an edges frame")
        elif frame.type == wire.LABEL:
            _check_label(frame)
        self.take(frame, len(raw))
        return Admitted(frame, raw, time.monotonic())

    def resume(self, number: int, size: int, encoding: int | None) -> None:
        """Go on behind frame ``number``, at position ``size``; before anything is let in."""
        self.accepted, self.accepted_bytes, self.encoding = number, size, encoding

    def extend(self, limit: int) -> int:
        """The client may send up to ``limit``; the limit, which never falls."""
        self.limit = max(self.limit, limit)
        return self.limit

    def roll_back(self, number: int, size: int, encoding: int | None) -> None:
        """What came behind frame ``number`` was not let in after all: one of its frames was bad."""
        self.accepted, self.accepted_bytes, self.encoding, self.ended = number, size, encoding, False

    def take(self, frame: Frame, size: int) -> None:
        """Count a frame that was let in."""
        self.accepted, self.accepted_bytes = frame.number, self.accepted_bytes + size
        if frame.type == wire.EVENTS:
            self.encoding = frame.code
        elif frame.type == wire.END:
            self.ended = True

    def _check_order(self, frame: Frame, size: int) -> None:
        if self.ended:
            raise Refused(SUPERSEDED, "stream_ended", "the stream has ended")
        if frame.number > self.accepted + 1:
            raise Refused(
                SEQUENCE_GAP, "sequence_gap", f"expected frame {self.accepted + 1}, got {frame.number}"
            )
        if self.accepted_bytes + size > self.limit:
            raise Refused(POLICY, "beyond_limit", f"sent beyond the limit of {self.limit} bytes")

    def _check_header(self, frame: Frame) -> None:
        if not 0 <= frame.t_us <= MAX_T_US:
            raise Refused(BAD_FRAME, "bad_frame", "t_us: allowed are 0 to 2^53 - 1")
        if frame.type == wire.EVENTS:
            if frame.code not in {wire.AER64, wire.EVT2, wire.EVT3}:
                raise Refused(BAD_FRAME, "bad_frame", f"encoding {frame.code}: allowed are 0, 1, 2")
            if self.encoding not in {None, frame.code}:
                begun = f"the stream began with {self.encoding}"
                raise Refused(BAD_FRAME, "bad_frame", f"encoding {frame.code}: {begun}")
            if self.encoding is None and frame.code != wire.AER64 and bytes(frame.payload[:2]) == b"% ":
                raise Refused(BAD_FRAME, "bad_frame", "camera bytes come without their % header")
        elif frame.count and frame.type not in {wire.EDGES, wire.LABEL}:
            raise Refused(BAD_FRAME, "bad_frame", f"a frame of type {frame.type} has count 0")


def verify(admitted: Admitted) -> Admitted:
    """An events frame that was let in, looked at whole: its sum, and that its times do not fall; with its rows.

    Raises:
        Refused: nothing of it may be taken.
    """
    if admitted.frame.type != wire.EVENTS:
        return admitted
    _check_sum(admitted.raw)
    if admitted.frame.code != wire.AER64:
        return admitted
    return replace(admitted, rows=_check_times(admitted.frame, "an aer64 frame"))


def _check_sum(raw: bytes) -> None:
    try:
        wire.check_sum(raw)
    except BadFrame as problem:
        raise Refused(BAD_FRAME, "bad_frame", str(problem)) from problem


def _check_times(frame: Frame, what: str) -> U64:
    """Rows begin with their us since the frame's time, and do not fall; the rows, as kernels take them."""
    rows = np.frombuffer(frame.payload, "<u8").astype(np.uint64, copy=False)
    if first_fall_aer64(rows) is not None:
        raise Refused(BAD_FRAME, "bad_frame", f"time falls within {what}")
    if len(rows) and frame.t_us + (int(rows[-1]) & 0xFFFFFFFF) > MAX_T_US:
        raise Refused(BAD_FRAME, "bad_frame", "times: allowed are 0 to 2^53 - 1")
    return rows


def _check_label(frame: Frame) -> None:
    try:
        document = json.loads(bytes(frame.payload))
    except (ValueError, RecursionError) as problem:
        raise Refused(BAD_FRAME, "bad_frame", "a label is JSON") from problem
    if not isinstance(document, dict) or set(document) != _LABEL_KEYS:
        raise Refused(BAD_FRAME, "bad_frame", f"a label has the keys {', '.join(sorted(_LABEL_KEYS))}")
    if not isinstance(document["output"], str) or not isinstance(document["label"], str | None):
        raise Refused(BAD_FRAME, "bad_frame", "output is a text, and label a text or null")
    span = document["from_us"], document["to_us"]
    if any(type(t) is not int for t in span) or not 0 <= span[0] <= span[1] <= MAX_T_US:
        raise Refused(
            BAD_FRAME, "bad_frame", "from_us and to_us: integers, 0 <= from_us <= to_us <= 2^53 - 1"
        )
