"""One stream: its input, its thread, its rows and readers, and what is stored of it.

session.py     who feeds it, what is let in       runner.py     the thread that computes
row_store.py   numbered rows of an output         readers.py    who reads them
durability.py  what must outlive it               view.py       what is told of it
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import structlog

from pipeline.checkpoint import CheckpointError
from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.intake import Intake
from service.settings import Settings
from service.storage.ports import Recording, StreamLog, StreamStore
from service.storage.records import Snapshot
from service.streams.admission import Admitted, Gate
from service.streams.changes import Changes
from service.streams.checkpoints import Checkpoints
from service.streams.durability import Durability
from service.streams.lifecycle import OVER, State, state_of
from service.streams.load_shedding import LoadShedder
from service.streams.memory import Hold
from service.streams.progress import Progress
from service.streams.readers import Readers
from service.streams.recording_switch import RecordingSwitch
from service.streams.request import StreamRequest, document_of
from service.streams.row_store import RowStore
from service.streams.runner import Runner
from service.streams.session import Session
from service.streams.view import View

Result = TypeVar("Result")
_log = structlog.get_logger("streams")
_LOOK_S = 0.5
_STOP_S = 2.0
"""How long a stream's thread is waited for."""


class Opened:
    """The files of one stream, opened: blocking work, for a thread beside the event loop.

    Args:
        request: what was asked for, with its pipeline in full.
        settings: of the service.
        store: its storage.
        graph: of its pipeline, freshly built.
        snapshot: where it goes on from; None for the beginning.

    Raises:
        CheckpointError: the snapshot is of another pipeline, or of models that have changed.
    """

    def __init__(
        self, request: StreamRequest, settings: Settings, store: StreamStore, graph: Graph,
        snapshot: Snapshot | None,
    ) -> None:  # fmt: skip
        if snapshot and snapshot.card["fingerprint"] != graph.fingerprint:
            raise CheckpointError("its pipeline, its sensor or one of its models is another than it was")
        self.store, self.graph, self.snapshot = store, graph, snapshot
        self.outputs: dict[str, RowStore] = {}
        self.durability = Durability()
        try:
            self._open_rows(settings.retention_bytes)
            self._open_durability(request, settings.snapshot_bytes)
            store.sync_names()
        except BaseException:
            self.close()
            raise

    def _open_rows(self, kept_bytes: int) -> None:
        known: dict[str, Any] = self.snapshot.card["feeds"] if self.snapshot else {}
        for i, (name, port) in enumerate(self.graph.outputs.items()):
            self.outputs[name] = RowStore(
                i, name, port, partial(self.store.rows, i), kept_bytes, known.get(name)
            )

    def _open_durability(self, request: StreamRequest, checkpoint_bytes: int) -> None:
        after, card = (self.snapshot.number, self.snapshot.card) if self.snapshot else (0, {})
        if request.policy == "lossless":
            self.durability = Durability(log=self.store.log(after), checkpoint_bytes=checkpoint_bytes)
        else:
            self.durability = Durability(shed_log=self.store.shed_log())
        self._about = {**request.model_dump(mode="json", exclude={"source"}),
                       "sensor": self.graph.sensor.model_dump(), "record": True}  # fmt: skip
        if request.record or self.store.has_recording():  # it may have been turned off
            recording = self.open_recording(after)
            self.durability.record_into(recording, on=request.record)
            if request.record:  # what lies behind the snapshot comes once more, out of the log
                recording.cut_back(int(card.get("recorded", 0)), int(card.get("left_out", 0)))

    def open_recording(self, after: int) -> Recording:
        """The recording; a new one begins behind frame ``after``."""
        return self.store.recording({**self._about, "after_frame": after})

    def close(self) -> None:
        """Let go of files."""
        for store in self.outputs.values():
            store.close()
        self.durability.close()

    def discard(self) -> None:
        """Let go of files, and remove what is stored."""
        self.close()
        self.store.hide()
        self.store.delete()


class Stream:
    """One stream; all methods belong to the event loop's thread.

    Args:
        id_: its name.
        request: what was asked for, with its pipeline in full.
        settings: of the service.
        opened: its files.
        hold: of the memory that the graph takes.
        created_s: when it was made, s since 1970.
    """

    def __init__(
        self,
        id_: str,
        request: StreamRequest,
        settings: Settings,
        opened: Opened,
        hold: Hold,
        created_s: float,
    ) -> None:
        self.id, self.request, self.created_s = id_, request, created_s
        self.graph, self.outputs, self.durability = opened.graph, opened.outputs, opened.durability
        self.store, self._files, self._hold = opened.store, opened, hold
        self.changes = Changes(self.announce)
        progress = Progress(epoch=self.store.epoch)
        intake = Intake(Engine(self.graph, Clock(request.reorder_us, late_is_error=request.late == "error")))
        self.runner = Runner(
            intake,
            self.outputs,
            progress,
            self.changes.from_thread,
            self.durability,
            _pace(request, self.graph),
        )
        room = max(settings.window_bytes, settings.max_frame_bytes)
        gate = Gate(settings.max_frame_bytes, settings.window_bytes + settings.max_frame_bytes)
        self.view = View(self, settings.root_path)
        self.session = Session(gate, progress, room, request.policy == "lossless", self.view.final)
        mailbox = self.runner.mailbox
        self.readers = Readers(
            self.outputs,
            self.runner.reactions,
            settings.retention_bytes,
            mailbox.hold_while_not,
            mailbox.poke,
        )
        card = {
            "request": request.model_dump(mode="json", exclude={"source"}),
            "fingerprint": self.graph.fingerprint,
        }
        self.checkpoints = Checkpoints(card, self.store, intake, progress, self.outputs, self.durability)
        self.recording_switch = RecordingSwitch(
            self.store, self.durability, partial(document_of, request, created_s), intake, progress,
            opened.open_recording,
        )  # fmt: skip
        self.durability.checkpoint_with(self.checkpoints.keep)
        if (snapshot := opened.snapshot) is not None:
            intake.restore(snapshot.state)
            size = int(snapshot.card["received_bytes"])
            progress.resume(snapshot.number, size)
            self.session.resume(snapshot.number, size, intake.encoding)
            if snapshot.card.get("recorded") and not snapshot.card.get("recording_on", True):
                self.recording_switch.mark_pause()
        self.restored = asyncio.Event()
        self.log_bytes_cut = 0
        self._failure_said = False

    def start(self, restore: bool) -> None:
        """Begin; ``restore`` replays the log first."""
        if restore and self.durability.log is not None:
            self.runner.start(partial(self._replay, self.durability.log))
        else:
            self._is_restored()
            self.runner.start()

    @property
    def state(self) -> State:
        """Where it is in its life."""
        session, progress = self.session, self.runner.progress
        return state_of(session.opened, session.ended, progress.finished, progress.failure is not None)

    @property
    def deleted(self) -> bool:
        """Whether it is being removed."""
        return self.session.deleted

    @property
    def failure(self) -> tuple[str, str] | None:
        """(code, detail) of what ended it before its end."""
        return self.runner.progress.failure

    @property
    def recoverable(self) -> bool:
        """Whether it failed for what lies outside it, so that its files may be of use once that is mended."""
        return self.failure is not None and self.failure[0] in {"storage", "internal"}

    @property
    def trouble(self) -> str | None:
        """What holds it up, such as a full disk; it goes on by itself."""
        log = self.durability.log
        return self.runner.progress.trouble or (log.trouble if log else None)

    def push(self, admitted: Admitted | None) -> None:
        """Hand an admitted frame to the thread."""
        if admitted is not None:
            self.runner.mailbox.put(admitted)

    def end(self) -> None:
        """End it as if ``end`` had come; nothing happens where it has, or where the stream is over."""
        if self.state not in OVER:
            self.push(self.session.end())

    def fail(self, code: str, detail: str) -> None:
        """It cannot go on, for a reason that lies outside its frames."""
        self.runner.progress.fail(code, detail)
        self.announce()

    async def flush_shed_log(self) -> None:
        """Have what was shed so far written down."""
        if self.durability.shed_log and self.state not in OVER:
            # A stream that ends meanwhile flushes by itself; a full disk is told where frames are stored.
            with contextlib.suppress(RuntimeError, OSError):
                await asyncio.wrap_future(self.runner.mailbox.ask(self.durability.shed_log.flush))

    async def between_frames(self, work: Callable[[], Result]) -> Result:
        """What ``work`` gives, done in the thread between two frames.

        Raises:
            RuntimeError: it is over.
            OSError: it is held up, such as by a full disk, and comes to no place between two frames.
        """
        if self.state in OVER:
            raise RuntimeError(f"the stream is {self.state}")
        await self.restored.wait()
        done = asyncio.wrap_future(self.runner.mailbox.ask(work))
        while not done.done():
            if self.trouble is not None:
                done.cancel()
                raise OSError(errno.ENOSPC, self.trouble)
            await asyncio.wait({done}, timeout=_LOOK_S)
        return cast(Result, await done)

    def announce(self) -> None:
        """Wake everyone who waits for a change."""
        self.changes.begin()
        refusal = self.runner.mailbox.take_refusal()
        if refusal is not None:
            self.session.refuse(refusal, self.runner.intake.encoding)
        if self.failure is not None and not self._failure_said and not self.deleted:
            self._failure_said = True
            code, detail = self.failure
            _log.error("stream failed", id=self.id, code=code, detail=detail)
        self.runner.reactions.announced()
        heads = ((store.head, store.gaps_so_far) for store in self.outputs.values())
        self.changes.tell((self.state, self.deleted, *heads))

    def hide(self) -> None:
        """It is being removed: no start finds it, and nobody reads or feeds it any more."""
        self.session.delete()  # before its rows go, or subscribers would read what is no more
        self.store.hide()

    def close(self) -> None:
        """Stop the thread and let go of files; what is stored stays. Blocking.

        A thread that is amid a long piece of work is not waited for: it ends, and lets go, at its next look.
        """
        if self.runner.stop(_STOP_S):
            self._let_go()
            return
        _log.warning("a stream is told to stop, and is amid a long piece of work", id=self.id)
        # A thread of its own: the pool's threads are waited for when the service ends.
        threading.Thread(target=self._let_go_later, name="stream-end", daemon=True).start()

    def _let_go_later(self) -> None:
        self.runner.stop()
        self._let_go()
        _log.info("a stream that was told to stop has stopped", id=self.id)

    def _let_go(self) -> None:
        try:
            self._files.close()
        finally:
            # Not left to the search for garbage: a stream and its parts know each other.
            self.graph.close()
            self._hold.release()

    def _is_restored(self) -> None:
        self.session.restored()
        self.restored.set()

    def _replay(self, log: StreamLog) -> bool:
        """In the thread: the log, and with it the session's count of what came before; whether all of it."""
        try:
            for frame, size in log.replay():
                if self.runner.mailbox.stopping:
                    return False
                self.session.replayed(frame, size)
                self.runner.replay(frame, size)
            self._count_lost(log)
            return True
        finally:  # a stream that fails here must say so to those who wait
            self.changes.call(self._is_restored)

    def _count_lost(self, log: StreamLog) -> None:
        """What a crash took, said where people look for it."""
        self.log_bytes_cut = log.cut_bytes
        if log.cut_bytes:
            _log.warning("the end of a stream's log was damaged and is cut off", id=self.id,
                         bytes=log.cut_bytes, last_frame=self.session.accepted)  # fmt: skip
        for name, store in self.outputs.items():
            if store.count_lost():
                _log.warning("the disk has not got all rows that a stream had", id=self.id, output=name,
                             rows=store.lost_rows)  # fmt: skip


def _pace(request: StreamRequest, graph: Graph) -> LoadShedder | None:
    if request.policy != "realtime":
        return None
    return LoadShedder(request.max_latency_ms * 1e-3, request.max_stride if graph.has_stride else 1)
