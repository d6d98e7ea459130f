"""The thread of a stream: takes admitted frames, makes them durable, runs the graph, publishes rows.

The event loop never computes; the kernels release the GIL. What is in the queue is bounded by the
limit that the gate enforces: `received` moves on when the runner takes frames, and the limit with it.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import structlog

from pipeline import wire
from pipeline.clock import LateEvent
from pipeline.engine import Result
from pipeline.intake import Intake
from pipeline.interrupt import Interrupted, interruptible
from pipeline.wire import Frame
from service.streams.admission import AdmissionLog
from service.streams.feed import Feed
from service.streams.gate import Admitted, Refused, verify
from service.streams.log import FrameLog
from service.streams.pace import Pace
from service.streams.rates import Rates
from service.streams.reaction import Reactions
from service.streams.recording import Recorder

_log = structlog.get_logger("streams")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_RETRY_S = 0.5
_AT_ONCE = 65_536
"""Events that are worked off at once, at most."""
_STEP_S = 0.01
"""So long frames are worked off before anybody looks whether what waits has grown too old."""


@dataclass
class Progress:
    """How far a runner has come; written by its thread, read by others."""

    received: int = 0
    received_bytes: int = 0
    durable: int = 0
    lag_us: int = 0
    snapshots: int = 0
    snapshot_failures: int = 0
    trouble: str | None = None
    """What holds the stream up; it goes on by itself."""
    finished: bool = False
    failure: tuple[str, str] | None = None
    """(code, detail) of what ended the stream before its end."""
    digests: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Shelf:
    """Where a runner keeps what must outlive it; each None where the stream does not ask for it.

    Attributes:
        log: frames of a lossless stream.
        snapshot: writes the state; the number of the frame that the snapshot before it holds.
        snapshot_bytes: so many bytes of frames are logged between two snapshots.
        recorder: all frames, for whoever downloads them.
        admission: what a realtime stream decided.
    """

    log: FrameLog | None = None
    snapshot: Callable[[], int] | None = None
    snapshot_bytes: int = 2**63
    recorder: Recorder | None = None
    admission: AdmissionLog | None = None


class Runner:
    """Runs one stream.

    Args:
        intake: fresh, or restored.
        feeds: one per output.
        notify: called from the thread after every step.
        shelf: see there.
        pace: of a realtime stream; None for ``lossless``.
    """

    def __init__(
        self, intake: Intake, feeds: dict[str, Feed], notify: Callable[[], None], shelf: Shelf,
        pace: Pace | None,
    ) -> None:  # fmt: skip
        self.intake, self.progress, self.rates = intake, Progress(), Rates()
        self.reactions = Reactions({name: feed.port for name, feed in feeds.items()})
        self._feeds, self._notify, self._shelf = feeds, notify, shelf
        self.pace = pace
        self._step_s = _STEP_S if pace is None else min(_STEP_S, pace.bound_s / 8)
        # A stream that ends at the first late event ends behind the frame before it, whatever waited beside it.
        self._at_once = 0 if intake.engine.clock.late_is_error else _AT_ONCE
        self._events_per_s = 0.0
        """How fast the last frames were worked off."""
        self._refusal: Refused | None = None
        self._stepping = False
        self._since_snapshot = 0
        self._settled = False
        """Whether log, engine and feeds stand behind the last frame that was received: else a snapshot would lie."""
        self._waiting: deque[Admitted] = deque()
        self._asked: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._may_go_on: Callable[[], bool] = lambda: True
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self, replay: Callable[[], bool] | None = None) -> None:
        """Start the thread; ``replay`` is run in it first, and says whether it came to the log's end."""
        self._replay = replay
        self._thread.start()

    @property
    def stopping(self) -> bool:
        """Whether the thread was told to end."""
        return self._stopping

    @property
    def waiting(self) -> int:
        """Frames that were handed over and not taken yet."""
        return len(self._waiting)

    def put(self, admitted: Admitted) -> None:
        """Hand over a frame; never blocks."""
        with self._wake:
            self._waiting.append(admitted)
            self._wake.notify()

    def between_frames(self, work: Callable[[], object]) -> Future[object]:
        """Have the thread do something between two frames."""
        done: Future[object] = Future()
        with self._wake:
            if self._stopping or not self._thread.is_alive():
                done.set_exception(RuntimeError("the stream is closed"))
            else:
                self._asked.append((work, done))
                self._wake.notify()
        return done

    def wait_for(self, may_go_on: Callable[[], bool]) -> None:
        """Before each frame, wait until ``may_go_on``; see :meth:`poke`."""
        with self._wake:
            self._may_go_on = may_go_on
            self._wake.notify()

    def poke(self) -> None:
        """Something that the thread waits for may have changed."""
        with self._wake:
            self._wake.notify()

    def stop(self, patience_s: float | None = None) -> bool:
        """End the thread; frames that wait are not taken any more.

        Args:
            patience_s: how long to wait for it; None for as long as it takes.

        Returns:
            Whether it has ended: one amid a kernel ends at its next look.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def replay(self, frame: Frame, size: int) -> None:
        """Run a frame of the log."""
        self.progress.received = self.progress.durable = frame.number
        self.progress.received_bytes += size
        self._since_snapshot += size
        if self._shelf.recorder:
            raw = bytes(frame.payload.obj)  # pyright: ignore[reportArgumentType]
            if not self._until_there_is_room(partial(self._shelf.recorder.append, [raw])):
                raise _Stopped
        self._handle(frame)
        self.reactions.forget()

    def _run(self) -> None:
        try:
            with interruptible(lambda: self._stopping):
                self._work()
        except (_Stopped, Interrupted):
            pass  # the next start replays what was begun here
        except LateEvent as problem:
            self._fail("late_event", str(problem))
        except OSError as problem:
            self._fail("storage", f"cannot store the stream: {problem.strerror or problem}")
        except Exception as problem:
            self._fail("internal", f"a fault of the service: {type(problem).__name__}")
            raise
        finally:
            if self._shelf.admission:
                with suppress(OSError):
                    self._shelf.admission.flush()
            self._refuse_all()

    def _work(self) -> None:
        if self._replay:
            if not self._replay():
                return
            self._notify()
        self._settled = True
        while (batch := self._take()) is not None:
            self._step(batch)
            self._stepping = False
            if self._refusal is not None:
                self._notify()
        self._keep_for_the_next_start()

    def _fail(self, code: str, detail: str) -> None:
        self.progress.failure = (code, detail)
        self._notify()

    def _take(self) -> list[Admitted] | None:
        """All frames that wait, or None when it is time to stop."""
        with self._wake:
            while not self._stopping and not self._waiting and not self._asked:
                self._wake.wait()
            if self._stopping:
                return None
            batch, asked = list(self._waiting), list(self._asked)
            self._waiting.clear()
            self._asked.clear()
            self._stepping = bool(batch)
        for work, done in asked:
            _answer(work, done)
        return batch

    def _step(self, batch: list[Admitted]) -> None:
        batch = self._good_ones(batch)
        if not batch:
            return
        progress, shelf = self.progress, self._shelf
        raw = [one.raw for one in batch]
        self._settled = False
        if shelf.log and not self._until_there_is_room(partial(shelf.log.append, raw)):
            return
        size = sum(len(one.raw) for one in batch)
        progress.received = batch[-1].frame.number
        progress.received_bytes += size
        if shelf.log:
            progress.durable = progress.received  # never before: what is durable was received
        self._since_snapshot += size
        self._notify()
        if shelf.recorder and not self._until_there_is_room(partial(shelf.recorder.append, raw)):
            return
        at = 0
        while at < len(batch):
            if not self._hold():
                return
            at = self._work_off(batch, at)
            self._notify()
        self._settled = True
        if self._since_snapshot >= shelf.snapshot_bytes:
            self.keep()

    def _good_ones(self, batch: list[Admitted]) -> list[Admitted]:
        """The frames before the first bad one; from there on nothing is taken until :meth:`take_refusal`."""
        good: list[Admitted] = []
        if self._refusal is not None:
            return good
        for one in batch:
            try:
                good.append(verify(one))
            except Refused as refusal:
                self._refusal = refusal
                break
        return good

    def take_refusal(self) -> Refused | None:
        """Why a frame was not taken, once what came behind it is forgotten, too; None where all were good.

        The frames before it are worked off when this answers.
        """
        with self._wake:
            if self._refusal is None or self._stepping:
                return None
            refusal, self._refusal = self._refusal, None
            self._waiting.clear()
            return refusal

    def _work_off(self, batch: list[Admitted], at: int) -> int:
        """Work off a frame, or several of plain rows at once; where the next one is."""
        one, to = batch[at], at + 1
        if self._sheds(one):
            events = self.intake.shed(one.frame)
            if self._shelf.admission:
                self._shelf.admission.shed(one.frame.number, events)
        elif self._shelf.admission and not self._until_there_is_room(self._shelf.admission.flush):
            raise _Stopped
        elif one.rows is None:
            started = time.monotonic()
            self.reactions.begins(started)
            self._handle(one.frame)
            self._react(batch[at : at + 1], started)
            self._learn(one.frame.count, time.monotonic() - started)
        else:
            rows, n = [(one.frame.t_us, one.rows)], len(one.rows)
            most = min(self._at_once, int(self._events_per_s * self._step_s))
            started = time.monotonic()
            self.reactions.begins(started)
            while to < len(batch) and (more := batch[to].rows) is not None and n + len(more) <= most:
                rows.append((batch[to].frame.t_us, more))
                n, to = n + len(more), to + 1
            self._publish(self.intake.answers_to_rows(rows))
            self._react(batch[at:to], started)
            took_s = time.monotonic() - started
            self._events_per_s = n / max(1e-6, took_s)
            self._learn(n, took_s)
        now = time.monotonic()
        self.progress.lag_us = round((now - one.at_s) * 1e6)
        self.rates.count(now, self.intake.engine.events, sum(len(done.raw) for done in batch[at:to]))
        return to

    def keep(self) -> None:
        """Begin the log anew, write a snapshot of what lies before, and forget what neither needs.

        Between two frames. Where the system does not let it, the log holds everything, and it is tried again later.
        """
        shelf = self._shelf
        if not (shelf.snapshot and shelf.log and self._settled) or self.intake.ended:
            return
        self._since_snapshot = shelf.snapshot_bytes // 2
        try:
            shelf.log.begin_after(self.progress.received)
            before = shelf.snapshot()
            shelf.log.forget(before)
        except OSError as problem:
            self.progress.snapshot_failures += 1
            _log.warning("no snapshot: the log goes on", problem=problem.strerror)
            return
        self._since_snapshot = 0
        self.progress.snapshots += 1

    def _keep_for_the_next_start(self) -> None:
        if self._since_snapshot:
            self.keep()

    def _until_there_is_room(self, write: Callable[[], None]) -> bool:
        """Do it as soon as the disk has room; False when it is time to stop."""
        while True:
            try:
                write()
            except OSError as problem:
                if problem.errno not in _FULL:
                    raise
                self.progress.trouble = f"the disk is full: {problem.strerror}"
                self._notify()
            else:
                self.progress.trouble = None
                return True
            with self._wake:
                if self._stopping or self._wake.wait_for(lambda: self._stopping, _RETRY_S):
                    return False

    def _hold(self) -> bool:
        """Wait for the reader that asked for it; False when it is time to stop."""
        with self._wake:
            while not self._stopping and not self._may_go_on():
                self._wake.wait()
            return not self._stopping

    def _sheds(self, one: Admitted) -> bool:
        """Whether a frame comes too late; how often it is evaluated where it does not."""
        pace = self.pace
        if pace is None or one.frame.type != wire.EVENTS:
            return False
        now = time.monotonic()
        sheds = pace.sheds(now - one.at_s, one.frame.count)
        stride = pace.step(now, now - one.at_s, sheds)
        if sheds:
            pace.shed()
        if stride != self.intake.stride:
            self.intake.set_stride(stride)
            if self._shelf.admission:
                self._shelf.admission.stride(one.frame.number, stride)
        return sheds

    def _learn(self, units: int, seconds: float) -> None:
        if self.pace:
            self.pace.worked(units, seconds)

    def _handle(self, frame: Frame) -> None:
        self._publish(self.intake.answers(frame))
        if frame.type == wire.END:
            self.progress.digests = self.intake.engine.digests()
            if self._shelf.admission:
                self._shelf.admission.flush()
            self.progress.finished = True
            self._notify()

    def _publish(self, parts: Iterable[list[Result]]) -> None:
        for result in chain.from_iterable(parts):
            if not self._until_there_is_room(partial(self._feeds[result.output].publish, result)):
                raise _Stopped
            self.reactions.published(result, self._feeds[result.output].head.made_s)

    def _react(self, batch: list[Admitted], began_s: float) -> None:
        """How long the answers of a batch took."""
        span = self.intake.span
        arrived = ((span[0], batch[0].at_s), (span[1], batch[-1].at_s)) if span else ()
        self.reactions.worked_off(arrived, batch[-1].at_s, began_s)

    def _refuse_all(self) -> None:
        """Nobody will answer any more."""
        with self._wake:
            asked = list(self._asked)
            self._asked.clear()
        for _, done in asked:
            if done.set_running_or_notify_cancel():
                done.set_exception(RuntimeError("the stream is closed"))


class _Stopped(Exception):
    """It was time to stop in the middle of a frame: the state is of use to nobody."""


def _answer(work: Callable[[], object], done: Future[object]) -> None:
    if not done.set_running_or_notify_cancel():
        return  # whoever asked has gone
    try:
        done.set_result(work())
    except Exception as problem:
        done.set_exception(problem)
