"""From frames of the stream protocol to an engine's answers; live streams and replays run this same object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.coding import decode
from kernels.coding.decode import Decoder, Triggers
from kernels.coding.events import unpack_aer64, unpack_frames
from kernels.columns import U64
from pipeline import wire
from pipeline.engine import Engine, Result
from pipeline.packets import Events
from pipeline.wire import Frame

MAX_T_US = 2**53 - 1
_SURELY_IN_TIME = 2**52
_WORD_BYTES = {wire.EVT2: 4, wire.EVT3: 2}


class Intake:
    """Takes frames in order.

    Args:
        engine: freshly built.

    Attributes:
        frames: how many are worked off. Counted last: who reads `n` from another thread and then the other counts
            finds all that is of those frames in them.
        shed_events: events of frames that were shed.
        beyond_time: events of camera bytes whose time is beyond what the protocol allows.
        cut_words: words of camera bytes that a gap or the end cut; each may have held an event.
        encoding: code of the events frames, once one has come.
        ended: whether an ``end`` came.
        shedding: whether the last events frame was shed: what comes next comes after a gap.
        stride: detectors evaluate at one of so many places.
        events_at: events that were taken, by the stride that they met.
        span: times of the first and the last event of what was taken last; None where it held none.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.frames = self.shed_frames = self.shed_events = self.beyond_time = self.cut_words = 0
        self.ended = self.shedding = False
        self.stride, self.events_at = 1, dict[int, int]()
        self.encoding: int | None = None
        self.span: tuple[int, int] | None = None
        self._decoder: Decoder | None = None

    def take(self, frame: Frame) -> list[Result]:
        """Answers to a frame that was admitted.

        Raises:
            LateEvent: an event was late, and the clock takes that for an error.
        """
        return [result for part in self.answers(frame) for result in part]

    def answers(self, frame: Frame) -> Iterator[list[Result]]:
        """The same, part by part: see :meth:`pipeline.engine.Engine.feeding`."""
        self.span = None
        if frame.type == wire.EVENTS:
            yield from self._answers_to(self._decode(frame))
            if frame.code != wire.AER64 and self._decoder is not None:
                yield self.engine.triggers(self._decoder.triggers)
        else:
            yield self._take_other(frame)
        self.frames += 1

    def _take_other(self, frame: Frame) -> list[Result]:
        """Answers to a frame that holds no events."""
        if frame.type == wire.EDGES:
            return self.engine.triggers(_edges(frame))
        if frame.type == wire.HEARTBEAT:
            return self.engine.heartbeat(frame.t_us)
        if frame.type == wire.GAP:
            self._drop_cut_word()  # what comes behind the gap does not go on with it
            return self.engine.gap(frame.t_us)
        if frame.type == wire.LABEL:
            document = json.loads(bytes(frame.payload))  # whoever admitted it has checked it
            self.engine.label(document["output"], document["label"], document["from_us"], document["to_us"])
        elif frame.type == wire.END:
            return self._end(frame)
        return []

    def answers_to_rows(self, frames: list[tuple[int, U64]]) -> Iterator[list[Result]]:
        """Answers to several frames of plain rows (t_us, rows) at once, part by part: the same, for less.

        Raises:
            LateEvent: an event was late, and the clock takes that for an error.
        """
        self.encoding = wire.AER64
        yield from self._answers_to(unpack_frames(frames))
        self.frames += len(frames)

    def shed(self, frame: Frame) -> int:
        """Drop an events frame; how many events it held."""
        events = self._decode(frame)  # camera bytes carry state that later frames need
        self.shedding = True
        self.shed_events += len(events[0])
        self.shed_frames += 1
        self.frames += 1
        return len(events[0])

    def set_stride(self, stride: int) -> None:
        """Have detectors evaluate at a ``stride``-th of the places from the next frame on."""
        self.stride = stride
        self.engine.graph.set_stride(stride)

    @property
    def dropped(self) -> dict[str, int]:
        """Events that came and were not computed with, by reason; those of camera bytes once such have come."""
        found = {**self.engine.dropped, "shed": self.shed_events}
        if self._decoder is not None:
            untimed = self._decoder.ignored["untimed"]
            found |= {"untimed": untimed, "beyond_time": self.beyond_time, "cut_words": self.cut_words}
        return found

    @property
    def ignored(self) -> dict[str, int]:
        """Words of camera bytes that are no events."""
        found = self._decoder.ignored if self._decoder else {}
        return {key: n for key, n in found.items() if key != "untimed"}

    def snapshot(self) -> dict[str, dict[str, NDArray[Any]]]:
        """All that is known between two frames."""
        code = -1 if self.encoding is None else self.encoding
        counts = [
            self.frames, self.shed_frames, self.shed_events, self.beyond_time,
            int(self.ended), int(self.shedding), code, self.cut_words,
        ]  # fmt: skip
        state = {**self.engine.snapshot(), "intake": {"counts": np.array(counts, np.int64)}}
        if self._decoder:
            state["decoder"] = {
                "word_bytes": np.array([self._decoder.word_bytes], np.int64),
                "state": self._decoder.state.copy(),
                "rest": np.frombuffer(self._decoder.rest, np.uint8).copy(),
            }
        return state

    def restore(self, state: dict[str, dict[str, NDArray[Any]]]) -> None:
        """Go on from a snapshot."""
        counts = [int(n) for n in state["intake"]["counts"]]
        self.frames, self.shed_frames, self.shed_events, self.beyond_time, ended, shedding, code = counts[:7]
        self.cut_words = sum(counts[7:])  # earlier snapshots do not have it
        self.ended, self.shedding = bool(ended), bool(shedding)
        self.encoding = None if code < 0 else code
        self.engine.restore(state)
        if known := state.get("decoder"):
            self._decoder = Decoder(
                int(known["word_bytes"][0]), known["state"].copy(), known["rest"].astype(np.uint8).tobytes()
            )

    def _answers_to(self, events: Events) -> Iterator[list[Result]]:
        t, n = events[0], len(events[0])
        self.span = (int(t[0]), int(t[-1])) if n else None
        self.events_at[self.stride] = self.events_at.get(self.stride, 0) + n
        yield self._after_shedding(events)
        yield from self.engine.feeding(events)

    def _after_shedding(self, events: Events) -> list[Result]:
        if not self.shedding or len(events[0]) == 0:
            return []
        self.shedding = False
        return self.engine.gap(int(events[0][0]))

    def _drop_cut_word(self) -> None:
        if self._decoder and self._decoder.rest:
            self._decoder.rest = b""
            self.cut_words += 1

    def _end(self, frame: Frame) -> list[Result]:
        self._drop_cut_word()
        newest = self.engine.clock.running_max_us
        results = self.engine.heartbeat(frame.t_us) if newest is None or frame.t_us > newest else []
        self.ended = True
        return results + self.engine.end()

    def _decode(self, frame: Frame) -> Events:
        self.encoding = frame.code
        if frame.code == wire.AER64:
            return unpack_aer64(np.frombuffer(frame.payload, "<u8").astype(np.uint64, copy=False), frame.t_us)
        if self._decoder is None:
            self._decoder = Decoder(_WORD_BYTES[frame.code])
        t, x, y, p = decode.decode(self._decoder, frame.payload, frame.t_us)
        if frame.t_us > _SURELY_IN_TIME and len(t) and int(t.max()) > MAX_T_US:
            kept = t <= MAX_T_US
            self.beyond_time += len(t) - int(np.count_nonzero(kept))
            return t[kept], x[kept], y[kept], p[kept]
        return t, x, y, p


def _edges(frame: Frame) -> Triggers:
    """Rows u32 us since the frame's time, u16 channel, u16 level as triggers."""
    rows = np.frombuffer(frame.payload, [("t", "<u4"), ("channel", "<u2"), ("level", "<u2")])
    edges = np.empty((len(rows), 3), np.int64)
    edges[:, 0] = frame.t_us + rows["t"].astype(np.int64)
    edges[:, 1], edges[:, 2] = rows["channel"], rows["level"]
    return edges
