"""The thread of a stream: takes admitted frames, makes them durable, runs the graph, publishes rows.

The event loop never computes; the kernels release the GIL. What is in the queue is bounded by the
limit that the gate enforces: `received` moves on when the runner takes frames, and the limit with it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kernels import decode
from kernels.decode import Decoder, Triggers
from kernels.events import unpack_aer64
from pipeline.clock import LateEvent
from pipeline.engine import Engine, Result
from pipeline.packets import Events
from service import wire
from service.streams.feed import Feed
from service.streams.gate import MAX_T_US, Admitted
from service.streams.log import FrameLog
from service.wire import Frame

_SURELY_IN_TIME = 2**52
_WORD_BYTES = {wire.EVT2: 4, wire.EVT3: 2}


@dataclass
class Progress:
    """How far a runner has come; written by its thread, read by others."""

    received: int = 0
    received_bytes: int = 0
    durable: int = 0
    frames: int = 0
    lag_us: int = 0
    shed_frames: int = 0
    shed_events: int = 0
    labels_learned: int = 0
    labels_unused: int = 0
    beyond_time: int = 0
    """Events of camera bytes whose time is beyond what the protocol allows."""
    finished: bool = False
    failure: tuple[str, str] | None = None
    """(code, detail) of what ended the stream before its end."""
    digests: dict[str, str] = field(default_factory=dict[str, str])


class Runner:
    """Runs one stream.

    Args:
        engine: freshly built.
        feeds: one per output.
        notify: called from the thread after every step.
        log: where frames are made durable; None for ``realtime``.
        max_latency_s: frames that waited longer are shed; None for ``lossless``.
        admission: file of what was shed, for ``realtime``.
    """

    def __init__(
        self, engine: Engine, feeds: dict[str, Feed], notify: Callable[[], None],
        log: FrameLog | None, max_latency_s: float | None, admission: Path,
    ) -> None:  # fmt: skip
        self.engine, self.progress = engine, Progress()
        self._feeds, self._notify, self._log = feeds, notify, log
        self._max_latency_s, self._admission = max_latency_s, admission
        self._decoder: Decoder | None = None
        self._shedding = False
        self._waiting: deque[Admitted] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._may_go_on: Callable[[], bool] = lambda: True
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self, replay: Callable[[], None] | None = None) -> None:
        """Start the thread; ``replay`` is run in it first."""
        self._replay = replay
        self._thread.start()

    @property
    def stopping(self) -> bool:
        """Whether the thread was told to end."""
        return self._stopping

    def put(self, admitted: Admitted) -> None:
        """Hand over a frame; never blocks."""
        with self._wake:
            self._waiting.append(admitted)
            self._wake.notify()

    def wait_for(self, may_go_on: Callable[[], bool]) -> None:
        """Before each frame, wait until ``may_go_on``; see :meth:`poke`."""
        with self._wake:
            self._may_go_on = may_go_on
            self._wake.notify()

    def poke(self) -> None:
        """Something that the thread waits for may have changed."""
        with self._wake:
            self._wake.notify()

    def stop(self) -> None:
        """End the thread; frames that wait are not taken any more."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def replay(self, frame: Frame, size: int) -> None:
        """Run a frame of the log."""
        self.progress.received = self.progress.durable = frame.number
        self.progress.received_bytes += size
        self._handle(frame)

    @property
    def ignored(self) -> dict[str, int]:
        """Words of camera bytes that were no events."""
        return self._decoder.ignored if self._decoder else {}

    def _run(self) -> None:
        try:
            if self._replay:
                self._replay()
                self._notify()
            while (batch := self._take()) is not None:
                self._step(batch)
        except LateEvent as problem:
            self._fail("late_event", str(problem))
        except OSError as problem:
            self._fail("storage", f"cannot store the stream: {problem.strerror or problem}")
        except Exception as problem:
            self._fail("internal", f"a fault of the service: {type(problem).__name__}")
            raise

    def _fail(self, code: str, detail: str) -> None:
        self.progress.failure = (code, detail)
        self._notify()

    def _take(self) -> list[Admitted] | None:
        """All frames that wait, or None when it is time to stop."""
        with self._wake:
            while not self._stopping and not self._waiting:
                self._wake.wait()
            if self._stopping:
                return None
            batch = list(self._waiting)
            self._waiting.clear()
            return batch

    def _step(self, batch: list[Admitted]) -> None:
        progress = self.progress
        if self._log:
            self._log.append([one.raw for one in batch])
            progress.durable = batch[-1].frame.number
        progress.received = batch[-1].frame.number
        progress.received_bytes += sum(len(one.raw) for one in batch)
        self._notify()
        for one in batch:
            if not self._hold():
                return
            if self._too_old(one):
                self._shed(one.frame)
            else:
                self._handle(one.frame)
            progress.lag_us = round((time.monotonic() - one.at_s) * 1e6)
            self._notify()

    def _hold(self) -> bool:
        """Wait for the reader that asked for it; False when it is time to stop."""
        with self._wake:
            while not self._stopping and not self._may_go_on():
                self._wake.wait()
            return not self._stopping

    def _too_old(self, one: Admitted) -> bool:
        sheddable = one.frame.type == wire.EVENTS and self._max_latency_s is not None
        return sheddable and time.monotonic() - one.at_s > (self._max_latency_s or 0)

    def _shed(self, frame: Frame) -> None:
        """Drop an events frame, count it, and write down that it was dropped."""
        events = self._decode(frame)  # camera bytes carry state that later frames need
        self.progress.frames += 1
        self.progress.shed_frames += 1
        self.progress.shed_events += len(events[0])
        self._shedding = True
        with self._admission.open("a") as file:
            file.write(json.dumps({"seq": frame.number, "decision": "shed", "events": len(events[0])}) + "\n")

    def _handle(self, frame: Frame) -> None:
        self.progress.frames += 1
        if frame.type == wire.EVENTS:
            events = self._decode(frame)
            if self._shedding and len(events[0]):
                self._after_shedding(frame, int(events[0][0]))
            self._publish(self.engine.feed(events))
            if frame.code != wire.AER64 and self._decoder is not None:
                self._publish(self.engine.triggers(self._decoder.triggers))
        elif frame.type == wire.EDGES:
            self._publish(self.engine.triggers(_edges(frame)))
        elif frame.type == wire.HEARTBEAT:
            self._publish(self.engine.heartbeat(frame.t_us))
        elif frame.type == wire.GAP:
            if self._decoder:
                self._decoder.rest = b""  # half a word of what was lost belongs to nothing
            self._publish(self.engine.gap(frame.t_us))
        elif frame.type == wire.LABEL:
            self._label(frame)
        elif frame.type == wire.END:
            self._end(frame)

    def _label(self, frame: Frame) -> None:
        document = json.loads(bytes(frame.payload))  # the gate has checked it
        self.engine.label(document["output"], document["label"], document["from_us"], document["to_us"])
        self.progress.labels_learned = self.engine.labels_learned
        self.progress.labels_unused = self.engine.labels_unused

    def _after_shedding(self, frame: Frame, t_us: int) -> None:
        """What follows shed frames follows a gap."""
        self._shedding = False
        with self._admission.open("a") as file:
            file.write(json.dumps({"seq": frame.number, "decision": "gap", "t_us": t_us}) + "\n")
        self._publish(self.engine.gap(t_us))

    def _end(self, frame: Frame) -> None:
        newest = self.engine.clock.running_max_us
        if newest is None or frame.t_us > newest:
            self._publish(self.engine.heartbeat(frame.t_us))
        self._publish(self.engine.end())
        self.progress.digests = self.engine.digests()
        self.progress.finished = True
        self._notify()

    def _decode(self, frame: Frame) -> Events:
        if frame.code == wire.AER64:
            # A copy: payloads start 32 bytes into bytes objects, which are read-only.
            return unpack_aer64(np.frombuffer(frame.payload, "<u8").astype(np.uint64), frame.t_us)
        if self._decoder is None:
            self._decoder = Decoder(_WORD_BYTES[frame.code])
        t, x, y, p = decode.decode(self._decoder, frame.payload, frame.t_us)
        if frame.t_us > _SURELY_IN_TIME and len(t) and int(t.max()) > MAX_T_US:
            kept = t <= MAX_T_US
            self.progress.beyond_time += len(t) - int(np.count_nonzero(kept))
            return t[kept], x[kept], y[kept], p[kept]
        return t, x, y, p

    def _publish(self, results: list[Result]) -> None:
        for result in results:
            self._feeds[result.output].publish(result)


def _edges(frame: Frame) -> Triggers:
    """Rows u32 us since the frame's time, u16 channel, u16 level as triggers."""
    rows = np.frombuffer(frame.payload, [("t", "<u4"), ("channel", "<u2"), ("level", "<u2")])
    edges = np.empty((len(rows), 3), np.int64)
    edges[:, 0] = frame.t_us + rows["t"].astype(np.int64)
    edges[:, 1], edges[:, 2] = rows["channel"], rows["level"]
    return edges
