"""One stream: what was asked for, its life, and the connections that feed and read it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from pipeline import wire
from pipeline.checkpoint import CheckpointError
from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.intake import Intake
from pipeline.writing import sync_folder
from service.settings import Settings
from service.streams.admission import AdmissionLog
from service.streams.feed import Feed
from service.streams.gate import Admitted, Gate, Refused
from service.streams.lifecycle import OVER, Lifecycle, State
from service.streams.log import FrameLog
from service.streams.memory import Hold
from service.streams.pace import Pace
from service.streams.reaction import Reactions
from service.streams.recording import Recorder
from service.streams.request import StreamRequest, write_request
from service.streams.runner import Runner, Shelf
from service.streams.snapshots import Snapshot, Snapshots

_log = structlog.get_logger("streams")
_LOOK_S = 0.5
_STOP_S = 2.0
"""How long a stream's thread is waited for."""
GONE = ".gone-"
"""Before the name of a folder that is being removed."""


@dataclass
class Waiter:
    """A subscriber that asked to be waited for: how many rows of each output it has read."""

    read: dict[str, int] = field(default_factory=dict[str, int])


class Stream:
    """One stream; all methods belong to the event loop's thread.

    Args:
        id_: its name.
        request: what was asked for, with its pipeline in full.
        settings: of the service.
        folder: its own, made where it is not.
        graph: of its pipeline, freshly built.
        hold: of the memory that the graph takes.
        key: to sign snapshots with.
        snapshot: where it goes on from; None for the beginning.
        created_s: when it was made, s since 1970; now where None.

    Raises:
        CheckpointError: the snapshot is of another pipeline, or of models that have changed.
    """

    def __init__(
        self, id_: str, request: StreamRequest, settings: Settings, folder: Path, key: bytes, graph: Graph,
        hold: Hold, snapshot: Snapshot | None = None, created_s: float | None = None,
    ) -> None:  # fmt: skip
        self.id, self.request, self.created_s = id_, request, created_s or time.time()
        self._settings, self._folder, self._loop = settings, folder, asyncio.get_running_loop()
        self._graph, self._hold = graph, hold
        if snapshot and snapshot.card["fingerprint"] != self._graph.fingerprint:
            raise CheckpointError("its pipeline, its sensor or one of its models is another than it was")
        folder.mkdir(parents=True, exist_ok=True)
        write_request(folder, request, self.created_s, settings.fsync)
        self.feeds: dict[str, Feed] = {}
        self._shelf = Shelf()
        try:
            self._open(snapshot)
        except BaseException:
            self._let_go()
            raise
        if settings.fsync:  # a frame that the disk has is of no use where it does not know the file's name
            sync_folder(folder)
            sync_folder(folder.parent)
        self._snapshots = Snapshots(folder, key, settings.fsync)
        intake = Intake(Engine(self._graph, Clock(request.reorder_us, late_is_error=request.late == "error")))
        self._runner = Runner(
            intake, self.feeds, self._from_thread, self._shelf,
            self._pace(),
        )  # fmt: skip
        self.gate = Gate(settings.max_frame_bytes, settings.window_bytes + settings.max_frame_bytes)
        if snapshot:
            self._recall(snapshot)
        elif self._shelf.recorder:
            self._shelf.recorder.cut_back(self._shelf.recorder.start)
        self.life = Lifecycle()
        self.restored = asyncio.Event()
        self.deleted = False
        self.subscribers = self.lagged_rows = self.cut_subscribers = 0
        self.waiter: Waiter | None = None
        self.sender: object | None = None
        self.refused: tuple[object | None, Refused] | None = None
        """(the sender, why) of the last frame that was not taken."""
        self.fetching: Callable[[], dict[str, Any]] | None = None
        """What the source that feeds it says of itself, where the service fetches events."""
        self.last_seen_s = time.monotonic()
        self._changed, self._grown = asyncio.Event(), asyncio.Event()
        self._seen: tuple[object, ...] = ()
        self._log_bytes_cut = 0
        self._failure_said = False
        self._announced = threading.Event()

    def start(self, restore: bool) -> None:
        """Begin; ``restore`` replays the log first."""
        if restore and self._shelf.log is not None:
            self._runner.start(partial(self._replay, self._shelf.log))
        else:
            self.restored.set()
            self._runner.start()

    @property
    def state(self) -> State:
        """Where it is in its life."""
        progress, life = self._runner.progress, self.life
        if progress.failure and not life.over:
            life.go(State.FAILED)
        if life.state is State.CREATED and (self.gate.accepted or self.sender):
            life.go(State.OPEN)
        if self.gate.ended and life.state in {State.CREATED, State.OPEN}:
            life.go(State.DRAINING)
        if progress.finished and life.state is State.DRAINING:
            life.go(State.ENDED)
        return life.state

    @property
    def failure(self) -> tuple[str, str] | None:
        """(code, detail) of what ended it before its end."""
        return self._runner.progress.failure

    @property
    def worth_keeping(self) -> bool:
        """Whether it failed for what lies outside it, so that its files may be of use once that is mended."""
        return self.failure is not None and self.failure[0] in {"storage", "internal"}

    async def flush_admission(self) -> None:
        """Have what was shed so far written down."""
        if self._shelf.admission and self.state not in OVER:
            with contextlib.suppress(RuntimeError, OSError):
                await asyncio.wrap_future(self._runner.between_frames(self._shelf.admission.flush))

    @property
    def trouble(self) -> str | None:
        """What holds it up, such as a full disk; it goes on by itself."""
        return self._runner.progress.trouble

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of anything; take it before looking."""
        return self._changed

    @property
    def grown(self) -> asyncio.Event:
        """Set at the next change that readers hear of: rows, watermarks, its end; take it before looking."""
        return self._grown

    @property
    def reactions(self) -> Reactions:
        """How long its answers take."""
        return self._runner.reactions

    @property
    def waiting_frames(self) -> int:
        """Frames that came and are not worked on yet."""
        return self._runner.waiting

    @property
    def limit(self) -> int:
        """The position up to which the client may send; it only grows."""
        received = self._runner.progress.received_bytes
        room = max(self._settings.window_bytes, self._settings.max_frame_bytes)
        self.gate.limit = max(self.gate.limit, received + room)
        return self.gate.limit

    @property
    def events_taken(self) -> int:
        """Events that came in so far, with those that were shed."""
        return self._runner.intake.engine.events + self._runner.intake.shed_events

    @property
    def newest_us(self) -> int | None:
        """The newest time that was seen."""
        return self._runner.intake.engine.clock.running_max_us

    @property
    def recording(self) -> Path | None:
        """All its frames, where they are kept."""
        return self._shelf.recorder.path if self._shelf.recorder else None

    @property
    def admission(self) -> Path | None:
        """What a realtime stream shed."""
        return self._shelf.admission.path if self._shelf.admission else None

    @property
    def model_names(self) -> frozenset[str]:
        """The models that it uses."""
        names = (getattr(config, "model", None) for config in self._graph.spec.stages)
        return frozenset(str(name).partition("@")[0] for name in names if name)

    def ack(self) -> dict[str, Any]:
        """What an ``ack`` says."""
        progress = self._runner.progress
        durable, received = (
            progress.durable,
            progress.received,
        )  # in this order: the thread counts the other way round
        # A realtime frame that was received is as safe as it will ever be: nobody need keep it.
        durable = min(durable, received) if self._shelf.log else received
        return {"type": "ack", "received": received, "durable": durable, "limit": self.limit}

    def final(self) -> dict[str, Any]:
        """What ``end`` says, once all results exist."""
        return {
            "type": "end",
            "rows": dict(self._runner.intake.engine.rows),
            "digests": self._runner.progress.digests,
        }

    def push(self, admitted: Admitted) -> None:
        """Hand an admitted frame to the runner."""
        self._runner.put(admitted)

    def fail(self, code: str, detail: str) -> None:
        """It cannot go on, for a reason that lies outside its frames."""
        self._runner.progress.failure = (code, detail)
        self.announce()

    async def snapshot(self) -> bytes:
        """Its state after the frames that were worked off, as a signed .zip.

        Raises:
            RuntimeError: it is over.
        """
        if self.state in {State.ENDED, State.FAILED}:
            raise RuntimeError(f"the stream is {self.state}")
        await self.restored.wait()
        path = self._folder / f".asked-{time.monotonic_ns()}.zip"
        try:
            work = self._runner.between_frames(lambda: self._snapshots.write_to(path, self._take()))
            await self._while_it_goes_on(asyncio.wrap_future(work))
            return await asyncio.to_thread(path.read_bytes)
        finally:
            path.unlink(missing_ok=True)

    async def _while_it_goes_on(self, work: asyncio.Future[object]) -> None:
        """Wait for what the thread does between two frames.

        Raises:
            OSError: the stream is held up, such as by a full disk, and comes to no such place.
        """
        while not work.done():
            if self.trouble is not None:
                work.cancel()
                raise OSError(errno.ENOSPC, self.trouble)
            await asyncio.wait({work}, timeout=_LOOK_S)
        await work

    def wait_for_reader(self, waiter: Waiter | None) -> None:
        """Hold the sender back for this reader, or for none."""
        self.waiter = waiter
        self._runner.wait_for(self._reader_keeps_up if waiter else lambda: True)

    def reader_moved(self) -> None:
        """The reader that is waited for has read on."""
        self._runner.poke()

    def disown_files(self) -> None:
        """Put what is on disk where no start finds it, at once."""
        with contextlib.suppress(OSError):
            self._folder.rename(self._gone)

    def delete_files(self) -> None:
        """Remove what is on disk."""
        shutil.rmtree(self._gone, ignore_errors=True)

    @property
    def _gone(self) -> Path:
        return self._folder.with_name(f"{GONE}{self.id}")

    def close(self) -> None:
        """Stop the thread and let go of files; what is on disk stays.

        A thread that is amid a long piece of work is not waited for: it ends, and lets go, at its next look.
        """
        if self._runner.stop(_STOP_S):
            self._let_go()
            return
        _log.warning("a stream is told to stop, and is amid a long piece of work", id=self.id)
        threading.Thread(target=self._let_go_later, name="stream-end", daemon=True).start()

    def _let_go_later(self) -> None:
        self._runner.stop()
        self._let_go()
        _log.info("a stream that was told to stop has stopped", id=self.id)

    def _let_go(self) -> None:
        self._hold.release()
        for feed in self.feeds.values():
            feed.close()
        if self._shelf.recorder:
            self._shelf.recorder.close()
            self._shelf.recorder = None
        if self._shelf.log:
            self._shelf.log.close()
            self._shelf.log = None

    def announce(self) -> None:
        """Wake everyone who waits for a change."""
        self._announced.clear()
        refusal = self._runner.take_refusal()
        if (
            refusal is not None
        ):  # what its sender has sent since is forgotten: it begins again behind what is good
            progress = self._runner.progress
            self.gate.roll_back(progress.received, progress.received_bytes, self._runner.intake.encoding)
            self.refused = self.sender, refusal
        self._changed.set()
        self._changed = asyncio.Event()
        self._say_failure()
        self.reactions.announced()
        seen = self.state, self.deleted, *((feed.head, feed.gaps_so_far) for feed in self.feeds.values())
        if seen != self._seen:
            self._seen = seen
            self._grown.set()
            self._grown = asyncio.Event()

    def _say_failure(self) -> None:
        """A stream that fails says why in the log, once."""
        if self.failure is not None and not self._failure_said and not self.deleted:
            self._failure_said = True
            code, detail = self.failure
            _log.error("stream failed", id=self.id, code=code, detail=detail)

    def describe(self) -> dict[str, Any]:
        """``GET /v1/streams/{id}``."""
        return {
            "id": self.id, "name": self.request.name, "state": self.state,
            "policy": self.request.policy, "created_s": self.created_s,
            "sensor": {"width": self._graph.sensor.width, "height": self._graph.sensor.height},
            "outputs": list(self.feeds), "epoch_ns": self.request.epoch_ns,
            "ingest_url": f"{self._settings.root_path}/v1/streams/{self.id}/ingest",
            "results_url": f"{self._settings.root_path}/v1/streams/{self.id}/results",
            "source": self.fetching() if self.fetching else None,
        }  # fmt: skip

    def stats(self) -> dict[str, Any]:
        """``GET /v1/streams/{id}/stats``."""
        progress, intake = self._runner.progress, self._runner.intake
        engine = intake.engine
        ignored = {f"ignored_{key}": n for key, n in intake.ignored.items()}
        return {
            "state": self.state, "events": engine.events, "frames": intake.frames,
            "watermark_us": self._watermark_us(), "lag_us": progress.lag_us,
            "reaction": self.reactions.describe(),
            "waiting_frames": self.waiting_frames, "rates": self._runner.rates.look(engine.events),
            "rows": dict(engine.rows), "digests": progress.digests if progress.finished else {},
            "dropped": {**engine.dropped, "shed": intake.shed_events},
            "repaired": {
                "duplicate_frames": self.gate.duplicates, "labels_unused": engine.labels_unused,
                "beyond_time": intake.beyond_time, "log_bytes_cut": self._log_bytes_cut,
                "rows_lost": sum(feed.lost_rows for feed in self.feeds.values()), **ignored,
            },
            "stride": self._stride(),
            "labels_learned": engine.labels_learned, "costs": self._graph.activity(),
            "stage_seconds": {name: round(spent, 6) for name, spent in self._graph.seconds.items()},
            "subscribers": self.subscribers, "lagged_rows": self.lagged_rows,
            "cut_subscribers": self.cut_subscribers, "snapshots": progress.snapshots,
            "snapshot_failures": progress.snapshot_failures,
            "admission_full": bool(self._shelf.admission and self._shelf.admission.full),
            "recording": self._recording(), "source": self.fetching() if self.fetching else None,
            "trouble": progress.trouble,
            "failure": progress.failure and {"code": progress.failure[0], "detail": progress.failure[1]},
        }  # fmt: skip

    def hello(self, names: list[str]) -> dict[str, Any]:
        """What subscribers are told first."""
        return {"type": "hello", "outputs": [_describe(self.feeds[name]) for name in names]}

    def _recording(self) -> dict[str, int] | None:
        recorder = self._shelf.recorder
        return {"bytes": recorder.size, "left_out_frames": recorder.left_out} if recorder else None

    def _stride(self) -> dict[str, Any]:
        pace, at = self._runner.pace, dict(self._runner.intake.events_at)
        return {
            "now": self._runner.intake.stride, "most": pace.most_stride if pace else 1,
            "changes": pace.changes if pace else 0, "events": {str(n): at[n] for n in sorted(at)},
        }  # fmt: skip

    def _watermark_us(self) -> int | None:
        return None if self.newest_us is None else self.newest_us - self.request.reorder_us

    def _open(self, snapshot: Snapshot | None) -> None:
        """The files of its rows, and what must outlive it."""
        known: dict[str, Any] = snapshot.card["feeds"] if snapshot else {}
        for i, (name, port) in enumerate(self._graph.outputs.items()):
            path = self._folder / f"rows-{i}"
            self.feeds[name] = Feed(i, name, port, path, self._settings.retention_bytes, known.get(name))
        self._fill_shelf(snapshot.number if snapshot else 0)

    def _fill_shelf(self, after: int) -> None:
        settings, request, shelf = self._settings, self.request, self._shelf
        if request.policy == "lossless":
            shelf.log = FrameLog(self._folder, settings.fsync, after)
            shelf.snapshot, shelf.snapshot_bytes = self._keep, settings.snapshot_bytes
        else:
            shelf.admission = AdmissionLog(self._folder / "admission.jsonl")
        if request.record:
            about = {**request.model_dump(mode="json", exclude={"source"}),
                     "sensor": self._graph.sensor.model_dump(), "after_frame": after}  # fmt: skip
            shelf.recorder = Recorder(self._folder / "recording.pchy", about, settings.max_recording_bytes)

    def _pace(self) -> Pace | None:
        if self.request.policy != "realtime":
            return None
        most = self.request.max_stride if self._graph.has_stride else 1
        return Pace(self.request.max_latency_ms * 1e-3, most)

    def _take(self) -> Snapshot:
        """Its state; in the runner's thread, between two frames."""
        progress, recorder = self._runner.progress, self._shelf.recorder
        card: dict[str, Any] = {
            "request": self.request.model_dump(mode="json", exclude={"source"}),
            "fingerprint": self._graph.fingerprint, "received_bytes": progress.received_bytes,
            "feeds": {name: feed.snapshot() for name, feed in self.feeds.items()},
            "recorded": recorder.size if recorder else 0, "left_out": recorder.left_out if recorder else 0,
        }  # fmt: skip
        return Snapshot(progress.received, card, self._runner.intake.snapshot())

    def _keep(self) -> int:
        snapshot = self._take()
        if self._settings.fsync:
            # The log behind a snapshot is forgotten: rows and recording must be on the disk before it says so.
            for feed in self.feeds.values():
                feed.sync()
            if self._shelf.recorder:
                self._shelf.recorder.sync()
        return self._snapshots.write(snapshot)

    def _recall(self, snapshot: Snapshot) -> None:
        card, progress = snapshot.card, self._runner.progress
        self._runner.intake.restore(snapshot.state)
        progress.received = progress.durable = snapshot.number
        progress.received_bytes = int(card["received_bytes"])
        self.gate.accepted, self.gate.accepted_bytes = snapshot.number, progress.received_bytes
        self.gate.encoding = self._runner.intake.encoding
        if self._shelf.recorder:
            self._shelf.recorder.cut_back(int(card["recorded"]))
            self._shelf.recorder.left_out = int(card.get("left_out", 0))

    def keep_first(self, snapshot: Snapshot) -> None:
        """Keep the snapshot that it goes on from, which came from elsewhere, as its own: without the other's rows."""
        own = self._take().card
        card = {**snapshot.card, **{name: own[name] for name in ("feeds", "recorded", "left_out")}}
        self._snapshots.write(replace(snapshot, card=card))

    def _replay(self, log: FrameLog) -> bool:
        """In the runner's thread: the log, and with it the gate's count of what came before; whether all of it."""
        try:
            for frame, size in log.replay():
                if self._runner.stopping:
                    return False
                self.gate.take(frame, size)
                self._runner.replay(frame, size)
            if log.cut_bytes:
                _log.warning("the end of a stream's log was damaged and is cut off", id=self.id,
                             bytes=log.cut_bytes, last_frame=self.gate.accepted)  # fmt: skip
            self._log_bytes_cut = log.cut_bytes
            for name, feed in self.feeds.items():
                if feed.count_lost():
                    _log.warning("the disk has not got all rows that a stream had", id=self.id, output=name,
                                 rows=feed.lost_rows)  # fmt: skip
            return True
        finally:  # a stream that fails here must say so to those who wait
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self.restored.set)

    def _reader_keeps_up(self) -> bool:
        """Whether rows that the reader wants are far from being overwritten; in the runner's thread."""
        waiter = self.waiter
        if waiter is None:
            return True
        return all(
            (self.feeds[name].head.next_row - row) * self.feeds[name].dtype.itemsize
            < self._settings.retention_bytes // 4
            for name, row in waiter.read.items()
        )

    def _from_thread(self) -> None:
        """Something changed, says the runner's thread; many such words become one."""
        if not self._announced.is_set():
            self._announced.set()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self.announce)


def _describe(feed: Feed) -> dict[str, Any]:
    return {
        "index": feed.index, "id": feed.name, "type": TYPES.get(feed.port.kind),
        "columns": [[*entry] for entry in feed.dtype.descr],
        "first_row": feed.oldest, "next_row": feed.head.next_row,
        "kind": feed.port.kind, "width": feed.port.width, "height": feed.port.height,
        "tile": feed.port.tile, "window_us": feed.port.window_us,
        "labels": [label.model_dump() for label in feed.port.labels],
    }  # fmt: skip


TYPES = {
    "detections": wire.DETECTIONS, "events": wire.THINNED_EVENTS, "field": wire.FIELD, "evidence": wire.EVIDENCE,
    "triggers": wire.TRIGGERS, "motion": wire.MOTION, "movers": wire.MOVERS,
}  # fmt: skip
"""The wire's frame type per kind of rows; decisions go as text."""
