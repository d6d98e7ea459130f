"""Which frames a stream lets in: order, encoding, limits. No I/O; frames in, decisions out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import numpy as np

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

        Raises:
            Refused: it may not come in.
        """
        if len(raw) > self.max_frame_bytes:
            raise Refused(TOO_LARGE, "frame_too_large", f"a frame has at most {self.max_frame_bytes} bytes")
        try:
            frame = wire.parse(raw)
        except BadFrame as problem:
            raise Refused(BAD_FRAME, "bad_frame", str(problem)) from problem
        if not wire.EVENTS <= frame.type <= wire.EDGES:
            raise Refused(BAD_FRAME, "bad_frame", f"type {frame.type}: allowed are 1 to 6")
        if frame.number == 0:
            raise Refused(BAD_FRAME, "bad_frame", "sequence numbers start at 1")
        if frame.number <= self.accepted or (self.ended and frame.type == wire.END):
            self.duplicates += 1
            return None
        self._check_order(frame, len(raw))
        self._check_content(frame)
        self.take(frame, len(raw))
        return Admitted(frame, raw, time.monotonic())

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

    def _check_content(self, frame: Frame) -> None:
        if not 0 <= frame.t_us <= MAX_T_US:
            raise Refused(BAD_FRAME, "bad_frame", "t_us: allowed are 0 to 2^53 - 1")
        if frame.type == wire.EVENTS:
            self._check_events(frame)
        elif frame.type == wire.EDGES:
            _check_times(frame, "an edges frame")
        elif frame.type == wire.LABEL:
            _check_label(frame)
        elif frame.count:
            raise Refused(BAD_FRAME, "bad_frame", f"a frame of type {frame.type} has count 0")

    def _check_events(self, frame: Frame) -> None:
        if frame.code not in {wire.AER64, wire.EVT2, wire.EVT3}:
            raise Refused(BAD_FRAME, "bad_frame", f"encoding {frame.code}: allowed are 0, 1, 2")
        if self.encoding not in {None, frame.code}:
            raise Refused(
                BAD_FRAME, "bad_frame", f"encoding {frame.code}: the stream began with {self.encoding}"
            )
        if frame.code == wire.AER64:
            _check_times(frame, "an aer64 frame")
        elif self.encoding is None and frame.count and bytes(frame.payload[:2]) == b"% ":
            raise Refused(BAD_FRAME, "bad_frame", "camera bytes come without their % header")


def _check_times(frame: Frame, what: str) -> None:
    """Rows begin with their us since the frame's time, and do not fall."""
    since = np.frombuffer(frame.payload, "<u4")[::2]
    if np.any(since[1:] < since[:-1]):
        raise Refused(BAD_FRAME, "bad_frame", f"time falls within {what}")
    if len(since) and frame.t_us + int(since[-1]) > MAX_T_US:
        raise Refused(BAD_FRAME, "bad_frame", "times: allowed are 0 to 2^53 - 1")


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
