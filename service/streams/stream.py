"""One stream: what was asked for, its state, and the connections that feed and read it."""

from __future__ import annotations

import asyncio
import enum
import json
import shutil
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.spec import PipelineSpec, Sensor, preset, validate
from service.settings import Settings
from service.streams.feed import Feed
from service.streams.gate import Admitted, Gate
from service.streams.log import FrameLog
from service.streams.runner import Runner


class StreamRequest(BaseModel):
    """``POST /v1/streams``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: str | dict[str, Any] = Field(description="name of a preset, or a pipeline")
    sensor: Sensor | None = Field(default=None, description="the source's pixel grid")
    policy: Literal["lossless", "realtime"] = Field(default="lossless", description="who waits for whom")
    max_latency_ms: float = Field(
        default=100, gt=0, le=60_000, description="realtime: frames that waited longer are shed, ms"
    )
    reorder_us: int = Field(default=0, ge=0, lt=10_000_000, description="how late an event may come, us")
    late: Literal["drop", "error"] = Field(default="drop", description="what a later one does")
    idle_timeout_s: float = Field(
        default=60, gt=0, le=86_400, description="a stream without sender ends after this, s"
    )
    epoch_ns: int = Field(default=0, ge=0, le=2**63 - 1, description="ns since 1970 at stream time 0")

    def spec(self) -> PipelineSpec:
        """The pipeline.

        Raises:
            SpecError: it cannot be used.
        """
        return preset(self.pipeline) if isinstance(self.pipeline, str) else validate(self.pipeline)


class State(enum.StrEnum):
    """created -> open -> draining -> ended; failed from anywhere."""

    CREATED = "created"
    OPEN = "open"
    DRAINING = "draining"
    ENDED = "ended"
    FAILED = "failed"


@dataclass
class Waiter:
    """A subscriber that asked to be waited for: how many rows of each output it has read."""

    read: dict[str, int] = field(default_factory=dict[str, int])


class Stream:
    """One stream; all methods belong to the event loop's thread.

    Args:
        id_: its name.
        request: what was asked for.
        settings: of the service.
        folder: its own, made where it is not.
        loop: the event loop.

    Raises:
        SpecError: the pipeline cannot be used.
    """

    def __init__(
        self, id_: str, request: StreamRequest, settings: Settings, folder: Path,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self.id, self.request, self.created_s = id_, request, time.time()
        self._settings, self._folder, self._loop = settings, folder, loop
        self._graph = Graph(request.spec(), request.sensor)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "request.json").write_text(request.model_dump_json())
        self.feeds = {
            name: Feed(i, name, port, folder / f"rows-{i}", settings.retention_bytes)
            for i, (name, port) in enumerate(self._graph.outputs.items())
        }
        lossless = request.policy == "lossless"
        self._log = FrameLog(folder / "frames.log", settings.fsync) if lossless else None
        clock = Clock(request.reorder_us, late_is_error=request.late == "error")
        self._runner = Runner(
            Engine(self._graph, clock), self.feeds, self._from_thread, self._log,
            None if lossless else request.max_latency_ms * 1e-3, folder / "admission.jsonl",
        )  # fmt: skip
        self.gate = Gate(settings.max_frame_bytes, settings.window_bytes + settings.max_frame_bytes)
        self.restored = asyncio.Event()
        self.deleted = False
        self.subscribers = 0
        self.waiter: Waiter | None = None
        self.sender: object | None = None
        self.last_seen_s = time.monotonic()
        self._changed = asyncio.Event()
        self._announced = threading.Event()

    def start(self, restore: bool) -> None:
        """Begin; ``restore`` replays the log first."""
        if restore and self._log is not None:
            self._runner.start(partial(self._replay, self._log))
        else:
            self.restored.set()
            self._runner.start()

    @property
    def state(self) -> State:
        """Where it is in its life."""
        progress = self._runner.progress
        if progress.failure:
            return State.FAILED
        if progress.finished:
            return State.ENDED
        if self.gate.ended:
            return State.DRAINING
        return State.OPEN if self.gate.accepted or self.sender else State.CREATED

    @property
    def failure(self) -> tuple[str, str] | None:
        """(code, detail) of what ended it before its end."""
        return self._runner.progress.failure

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of anything; take it before looking."""
        return self._changed

    @property
    def limit(self) -> int:
        """The position up to which the client may send; it only grows."""
        received = self._runner.progress.received_bytes
        room = max(self._settings.window_bytes, self._settings.max_frame_bytes)
        self.gate.limit = max(self.gate.limit, received + room)
        return self.gate.limit

    def ack(self) -> dict[str, Any]:
        """What an ``ack`` says."""
        progress = self._runner.progress
        # A realtime frame that was received is as safe as it will ever be: nobody need keep it.
        durable = progress.durable if self._log else progress.received
        return {"type": "ack", "received": progress.received, "durable": durable, "limit": self.limit}

    def final(self) -> dict[str, Any]:
        """What ``end`` says, once all results exist."""
        return {
            "type": "end",
            "rows": dict(self._runner.engine.rows),
            "digests": self._runner.progress.digests,
        }

    def push(self, admitted: Admitted) -> None:
        """Hand an admitted frame to the runner."""
        self._runner.put(admitted)

    def wait_for_reader(self, waiter: Waiter | None) -> None:
        """Hold the sender back for this reader, or for none."""
        self.waiter = waiter
        self._runner.wait_for(self._reader_keeps_up if waiter else lambda: True)

    def reader_moved(self) -> None:
        """The reader that is waited for has read on."""
        self._runner.poke()

    def delete(self) -> None:
        """Stop, tell everyone, and remove what is on disk."""
        self.close()
        self.deleted = True
        self.announce()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Stop the thread and let go of files; what is on disk stays."""
        self._runner.stop()
        for feed in self.feeds.values():
            feed.close()
        if self._log:
            self._log.close()
            self._log = None

    def announce(self) -> None:
        """Wake everyone who waits for a change."""
        self._announced.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    def describe(self) -> dict[str, Any]:
        """``GET /v1/streams/{id}``."""
        return {
            "id": self.id, "state": self.state, "policy": self.request.policy,
            "sensor": {"width": self._graph.sensor.width, "height": self._graph.sensor.height},
            "outputs": list(self.feeds), "epoch_ns": self.request.epoch_ns,
            "ingest_url": f"/v1/streams/{self.id}/ingest", "results_url": f"/v1/streams/{self.id}/results",
        }  # fmt: skip

    def stats(self) -> dict[str, Any]:
        """``GET /v1/streams/{id}/stats``."""
        progress, engine = self._runner.progress, self._runner.engine
        finished = progress.finished
        ignored = {f"ignored_{key}": n for key, n in self._runner.ignored.items()}
        return {
            "state": self.state, "events": engine.events, "frames": progress.frames,
            "watermark_us": self._watermark_us(), "lag_us": progress.lag_us,
            "rows": dict(engine.rows), "digests": progress.digests if finished else {},
            "dropped": {**engine.dropped, "shed": progress.shed_events},
            "repaired": {
                "duplicate_frames": self.gate.duplicates, "labels_unused": progress.labels_unused,
                "beyond_time": progress.beyond_time, **ignored
            },
            "labels_learned": progress.labels_learned, "costs": engine.graph.activity(),
            "subscribers": self.subscribers,
            "failure": progress.failure and {"code": progress.failure[0], "detail": progress.failure[1]},
        }  # fmt: skip

    def hello(self, names: list[str]) -> dict[str, Any]:
        """What subscribers are told first."""
        return {"type": "hello", "outputs": [_describe(self.feeds[name]) for name in names]}

    def _watermark_us(self) -> int | None:
        newest = self._runner.engine.clock.running_max_us
        return None if newest is None else newest - self.request.reorder_us

    def _replay(self, log: FrameLog) -> None:
        """In the runner's thread: the log, and with it the gate's count of what came before."""
        try:
            for frame, size in log.replay():
                if self._runner.stopping:
                    return
                self.gate.take(frame, size)
                self._runner.replay(frame, size)
        finally:  # a stream that fails here must say so to those who wait
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
            self._loop.call_soon_threadsafe(self.announce)


def read_request(folder: Path) -> StreamRequest:
    """What the stream in ``folder`` was made from."""
    return StreamRequest.model_validate(json.loads((folder / "request.json").read_bytes()))


def _describe(feed: Feed) -> dict[str, Any]:
    return {
        "index": feed.index, "id": feed.name, "type": TYPES.get(feed.port.kind),
        "columns": [[*entry] for entry in feed.dtype.descr],
        "first_row": feed.oldest, "next_row": feed.head.next_row,
        "kind": feed.port.kind, "width": feed.port.width, "height": feed.port.height,
        "labels": [label.model_dump() for label in feed.port.labels],
    }  # fmt: skip


TYPES = {"detections": 16, "events": 17, "field": 18, "evidence": 19, "triggers": 21, "motion": 22}
"""The wire's frame type per kind of rows; decisions go as text."""
