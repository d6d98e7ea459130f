"""The thread of a stream: takes admitted frames, makes them durable, runs the graph, publishes rows.

The event loop never computes; the kernels release the GIL. What is in the mailbox is bounded by the limit that the
session tells its sender: ``received`` moves on when the thread takes frames, and the limit with it.

Where a frame becomes durable: :meth:`Runner._store`. Where rows are shown to readers: :meth:`Runner._publish`, and
:meth:`Runner._became_durable` where the log takes longer than computing them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import chain

import structlog

from pipeline import wire
from pipeline.cancellation import Interrupted, interruptible
from pipeline.clock import LateEvent
from pipeline.engine import Result
from pipeline.intake import Intake
from pipeline.wire import Frame
from service.streams.admission import Admitted, Refused, verify
from service.streams.durability import Durability, PatientWriter, Stopped
from service.streams.load_shedding import LoadShedder
from service.streams.mailbox import Mailbox
from service.streams.progress import Progress
from service.streams.rates import Rates
from service.streams.reaction import Reactions
from service.streams.row_store import RowStore

_log = structlog.get_logger("streams")
_AT_ONCE = 65_536
"""Events that are worked off at once, at most."""
_NEVER = 2**63
"""A frame that no log tells of: rows of it wait for the end."""
_STEP_S = 0.01
"""So long frames are worked off before anybody looks whether what waits has grown too old."""


class Runner:
    """Runs one stream.

    Args:
        intake: fresh, or restored.
        outputs: a row store each.
        progress: what the thread writes down of itself.
        notify: called from the thread after every step.
        durability: where frames go that must outlive it.
        pace: of a realtime stream; None for ``lossless``.
    """

    def __init__(
        self, intake: Intake, outputs: dict[str, RowStore], progress: Progress, notify: Callable[[], None],
        durability: Durability, pace: LoadShedder | None,
    ) -> None:  # fmt: skip
        self.intake, self.progress, self.rates, self.pace = intake, progress, Rates(), pace
        self.reactions = Reactions({name: store.port for name, store in outputs.items()})
        self.mailbox = Mailbox()
        self._outputs, self._notify, self._durability = outputs, notify, durability
        self._writer = PatientWriter(progress, notify, self.mailbox.pause)
        self._step_s = _STEP_S if pace is None else min(_STEP_S, pace.bound_s / 8)
        # A stream that ends at the first late event ends behind the frame before it, whatever waited beside it.
        self._at_once = 0 if intake.engine.clock.late_is_error else _AT_ONCE
        self._events_per_s = 0.0
        """How fast the last frames were worked off."""
        self._since_checkpoint = 0
        self._settled = False
        """Whether log, engine and rows stand behind the last frame that was received: else a snapshot would lie."""
        self._pending_appends = 0
        """Appends to the log that are not durable yet."""
        self._replay: Callable[[], bool] | None = None
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self, replay: Callable[[], bool] | None = None) -> None:
        """Start the thread; ``replay`` is run in it first, and says whether it came to the log's end."""
        self._replay = replay
        self._thread.start()

    def stop(self, patience_s: float | None = None) -> bool:
        """End the thread; frames that wait are not taken any more.

        Args:
            patience_s: how long to wait for it; None for as long as it takes.

        Returns:
            Whether it has ended: one amid a kernel ends at its next look.
        """
        self.mailbox.stop()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def replay(self, frame: Frame, size: int) -> None:
        """Run a frame of the log."""
        self.progress.took(frame.number, size, durable=frame.number)
        self._since_checkpoint += size
        if self._durability.recording and self._durability.recording_on:
            raw = bytes(frame.payload.obj)  # pyright: ignore[reportArgumentType]
            self._writer.write(partial(self._durability.recording.append, [raw]))
        self._handle(frame)
        self.reactions.forget()

    def keep(self) -> None:
        """Begin the log anew, store a snapshot of what lies before, and forget what neither needs.

        Between two frames. Where the system does not let it, the log holds everything, and it is tried again later.
        """
        log, checkpoint = self._durability.log, self._durability.checkpoint
        if checkpoint is None or log is None or not self._settled or self.intake.ended:
            return
        if self._pending_appends:
            return  # rows that nobody may see yet must not be in a snapshot
        # Half way: where this fails, the next attempt does not come with the next frame.
        self._since_checkpoint = self._durability.checkpoint_bytes // 2
        try:
            # In this order: a part of the log without its snapshot is replayed like all others, but a snapshot in
            # the middle of a part would hide what follows it there.
            log.checkpoint(self.progress.received)
            log.forget(checkpoint())
        except OSError as problem:
            self.progress.snapshot_tried(stored=False)
            _log.warning("no snapshot: the log goes on", problem=problem.strerror)
            return
        self._since_checkpoint = 0
        self.progress.snapshot_tried(stored=True)

    def _run(self) -> None:
        try:
            with interruptible(lambda: self.mailbox.stopping):
                self._work()
        except (Stopped, Interrupted):
            pass  # the next start replays what was begun here
        except LateEvent as problem:
            self._fail("late_event", str(problem))
        except OSError as problem:
            self._fail("storage", f"cannot store the stream: {problem.strerror or problem}")
        except Exception as problem:
            self._fail("internal", f"a fault of the service: {type(problem).__name__}")
            raise
        finally:
            if self._durability.shed_log:
                with suppress(OSError):
                    self._durability.shed_log.flush()
            self.mailbox.close()

    def _work(self) -> None:
        if self._replay:
            if not self._replay():
                return
            self._notify()
        self._settled = True
        while (taken := self.mailbox.take()) is not None:
            frames, requests = taken
            for request in requests:
                request.answer()
            self._step(frames)
            self.mailbox.done()
            if self.mailbox.refused:
                self._notify()
        if self._since_checkpoint:
            self.keep()

    def _fail(self, code: str, detail: str) -> None:
        self.progress.fail(code, detail)
        self._notify()

    def _step(self, batch: list[Admitted]) -> None:
        """Store and work off frames."""
        batch = self._good_ones(batch)
        if not batch:
            return
        self._settled = False
        self._store(batch)
        at = 0
        while at < len(batch):
            if not self.mailbox.wait_until_it_may():
                raise Stopped
            at = self._process(batch, at)
            self._notify()
        self._settled = True
        if self._since_checkpoint >= self._durability.checkpoint_bytes:
            self.keep()

    def _store(self, batch: list[Admitted]) -> None:
        """Have frames logged and recorded, before anything is computed from them.

        Raises:
            Stopped: it is time to stop.
        """
        raw, last = [one.raw for one in batch], batch[-1].frame.number
        progress, log = self.progress, self._durability.log
        at_once = 0
        # Counted before it is asked for: the answer may come before `append` returns.
        self._pending_appends += log is not None

        def durable(number: int) -> None:
            nonlocal at_once
            # In this thread it is inside `append`, and taken up below; in another it waits its turn in the mailbox.
            if threading.current_thread() is self._thread:
                at_once = number
                self._pending_appends -= 1
            else:
                self.mailbox.ask(partial(self._became_durable, number))

        if log is not None:
            self._writer.write(partial(log.append, raw, last, durable))
        size = sum(map(len, raw))
        # Before anything is computed, so that rows can be shown at once.
        progress.took(last, size, durable=at_once)
        self._since_checkpoint += size
        self._notify()
        recording = self._durability.recording
        if recording is not None and self._durability.recording_on:
            self._writer.write(partial(recording.append, raw))

    def _became_durable(self, number: int) -> None:
        """Frames up to ``number`` are durable by now: so are the rows that were computed from them."""
        self._pending_appends -= 1
        self.progress.became_durable(number)
        for store in self._outputs.values():
            store.release(self.progress.durable)
        self._finish()
        self._notify()

    def _finish(self) -> None:
        """All answers exist, and readers may see them all: `end` can be told, with all that it tells."""
        if self.intake.ended and self._pending_appends == 0:
            for store in self._outputs.values():
                store.release(_NEVER)
            self.progress.finish()

    def _good_ones(self, batch: list[Admitted]) -> list[Admitted]:
        """The frames before the first bad one; from there on nothing is taken until somebody heard of it."""
        good: list[Admitted] = []
        if self.mailbox.refused:
            return good
        for one in batch:
            try:
                good.append(verify(one))
            except Refused as refusal:
                self.mailbox.refuse(refusal)
                break
        return good

    def _process(self, batch: list[Admitted], at: int) -> int:
        """Work off a frame, or several of plain rows at once; where the next one is."""
        one, to = batch[at], at + 1
        shed_log = self._durability.shed_log
        if self._sheds(one):
            events = self.intake.shed(one.frame)
            if shed_log:
                shed_log.shed(one.frame.number, events)
            return self._processed(batch, at, to)
        # Before the frame's rows can be seen: a replay must shed what was shed, or its numbers differ.
        if shed_log:
            self._writer.write(shed_log.flush)
        started = time.monotonic()
        self.reactions.begins(started)
        if one.rows is None:
            units = one.frame.count
            self._handle(one.frame)
        else:
            to, units = self._rows_from(batch, at)
            self._events_per_s = units / max(1e-6, time.monotonic() - started)
        self._react(batch[at:to], started)
        if self.pace:
            self.pace.worked(units, time.monotonic() - started)
        return self._processed(batch, at, to)

    def _rows_from(self, batch: list[Admitted], at: int) -> tuple[int, int]:
        """Work off plain rows of as many frames as shall be worked off at once: (the next frame, events)."""
        rows, n, to = [], 0, at
        # As many as take about `_step_s`: more would keep requests and orders to stop waiting.
        most = min(self._at_once, int(self._events_per_s * self._step_s))
        while (
            to < len(batch) and (more := batch[to].rows) is not None and (to == at or n + len(more) <= most)
        ):
            rows.append((batch[to].frame.t_us, more))
            n, to = n + len(more), to + 1
        self._publish(self.intake.answers_to_rows(rows), batch[to - 1].frame.number)
        return to, n

    def _processed(self, batch: list[Admitted], at: int, to: int) -> int:
        now = time.monotonic()
        self.progress.processed(now - batch[at].at_s)
        self.rates.count(now, self.intake.engine.events, sum(len(done.raw) for done in batch[at:to]))
        return to

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
            if self._durability.shed_log:
                self._durability.shed_log.stride(one.frame.number, stride)
        return sheds

    def _handle(self, frame: Frame) -> None:
        # An `end` by the service has the number of the frame before it: what it leads to is shown in `_finish`.
        last = frame.type == wire.END
        self._publish(self.intake.answers(frame), _NEVER if last and self._durability.log else frame.number)
        if last:
            self.progress.worked_out(self.intake.engine.digests())
            if self._durability.shed_log:
                self._durability.shed_log.flush()
            self._finish()
            self._notify()

    def _publish(self, parts: Iterable[list[Result]], frame: int) -> None:
        for result in chain.from_iterable(parts):
            store = self._outputs[result.output]
            self._writer.write(partial(store.write, result, frame))
            # A realtime stream has no log: its frames are as safe as they will ever be.
            store.release(self.progress.durable if self._durability.log else frame)
            self.reactions.published(result, store.computed.made_s)

    def _react(self, batch: list[Admitted], began_s: float) -> None:
        """How long the answers of a batch took."""
        span = self.intake.span
        arrived = ((span[0], batch[0].at_s), (span[1], batch[-1].at_s)) if span else ()
        self.reactions.processed(arrived, batch[-1].at_s, began_s)
