"""What people and programs are told of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.row_kinds import ROW_KINDS
from service.streams.row_store import RowStore

if TYPE_CHECKING:
    from service.streams.stream import Stream


class View:
    """Reads a stream, and changes nothing.

    Args:
        stream: that is shown.
        root_path: in front of addresses.
    """

    def __init__(self, stream: Stream, root_path: str) -> None:
        self._stream, self._root_path = stream, root_path
        self.source: Callable[[], dict[str, Any]] | None = None
        """What the source that feeds it says of itself, where the service fetches events."""

    def show_source(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Show what feeds it."""
        self.source = describe

    def describe(self) -> dict[str, Any]:
        """``GET /v1/streams/{id}``."""
        stream, request, sensor = self._stream, self._stream.request, self._stream.graph.sensor
        return {
            "id": stream.id, "name": request.name, "state": stream.state,
            "policy": request.policy, "created_s": stream.created_s, "epoch": stream.runner.progress.epoch,
            "sensor": {"width": sensor.width, "height": sensor.height},
            "outputs": list(stream.outputs), "epoch_ns": request.epoch_ns,
            "ingest_url": f"{self._root_path}/v1/streams/{stream.id}/ingest",
            "results_url": f"{self._root_path}/v1/streams/{stream.id}/results",
            "source": self.source() if self.source else None,
        }  # fmt: skip

    def stats(self) -> dict[str, Any]:
        """``GET /v1/streams/{id}/stats``."""
        stream, runner = self._stream, self._stream.runner
        progress, intake, readers = runner.progress, runner.intake, stream.readers
        engine, shed_log, failure = intake.engine, stream.durability.shed_log, progress.failure
        frames = intake.frames  # before all other counts: the thread counts on while they are read
        return {
            "state": stream.state, "events": engine.events, "frames": frames,
            "watermark_us": self._watermark_us(), "lag_us": progress.lag_us,
            "reaction": runner.reactions.describe(),
            "waiting_frames": runner.mailbox.waiting, "rates": runner.rates.look(engine.events),
            "rows": dict(engine.rows), "digests": progress.digests if progress.finished else {},
            "dropped": intake.dropped, "repaired": self._repaired(),
            "filtered": dict(engine.graph.removed),
            "stride": self._stride(),
            "labels_learned": engine.labels_learned, "costs": stream.graph.activity(),
            "stage_seconds": {name: round(spent, 6) for name, spent in stream.graph.seconds.items()},
            "subscribers": readers.count, "lagged_rows": readers.lagged_rows,
            "cut_subscribers": readers.cut, "snapshots": progress.snapshots,
            "snapshot_failures": progress.snapshot_failures,
            "admission_full": bool(shed_log and shed_log.full),
            "recording": self._recording(), "source": self.source() if self.source else None,
            "trouble": stream.trouble, "failure": failure and {"code": failure[0], "detail": failure[1]},
        }  # fmt: skip

    def hello(self, names: list[str]) -> dict[str, Any]:
        """What subscribers are told first."""
        return {"type": "hello", "outputs": [_describe(self._stream.outputs[name]) for name in names]}

    def final(self) -> dict[str, Any]:
        """What ``end`` says, once all results exist."""
        runner = self._stream.runner
        return {
            "type": "end",
            "rows": dict(runner.intake.engine.rows),
            "digests": runner.progress.digests,
        }

    def newest_us(self) -> int | None:
        """The newest time that was seen."""
        return self._stream.runner.intake.engine.clock.running_max_us

    def events_taken(self) -> int:
        """Events that came in so far, with those that were shed."""
        intake = self._stream.runner.intake
        return intake.engine.events + intake.shed_events

    def model_names(self) -> frozenset[str]:
        """The models that it uses."""
        names = (getattr(config, "model", None) for config in self._stream.graph.spec.stages)
        return frozenset(str(name).partition("@")[0] for name in names if name)

    def _repaired(self) -> dict[str, int]:
        stream, intake = self._stream, self._stream.runner.intake
        return {
            "duplicate_frames": stream.session.duplicates, "labels_unused": intake.engine.labels_unused,
            "log_bytes_cut": stream.log_bytes_cut,
            "rows_lost": sum(store.lost_rows for store in stream.outputs.values()),
            **{f"ignored_{key}": n for key, n in intake.ignored.items()},
        }  # fmt: skip

    def _recording(self) -> dict[str, Any] | None:
        durability = self._stream.durability
        if (recording := durability.recording) is None:
            return None
        return {"on": durability.recording_on, "bytes": recording.size, "left_out_frames": recording.left_out}

    def _stride(self) -> dict[str, Any]:
        runner = self._stream.runner
        pace, at = runner.pace, dict(runner.intake.events_at)
        return {
            "now": runner.intake.stride, "most": pace.most_stride if pace else 1,
            "changes": pace.changes if pace else 0, "events": {str(n): at[n] for n in sorted(at)},
        }  # fmt: skip

    def _watermark_us(self) -> int | None:
        newest_us = self.newest_us()
        return None if newest_us is None else newest_us - self._stream.request.reorder_us


def _describe(store: RowStore) -> dict[str, Any]:
    return {
        "index": store.index, "id": store.name, "type": ROW_KINDS[store.port.kind].frame,
        "columns": [[*entry] for entry in store.dtype.descr],
        "first_row": store.oldest, "next_row": store.head.next_row,
        "kind": store.port.kind, "width": store.port.width, "height": store.port.height,
        "tile": store.port.tile, "window_us": store.port.window_us,
        "labels": [label.model_dump() for label in store.port.labels],
    }  # fmt: skip
