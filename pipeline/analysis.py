"""A recording or a video through a pipeline into a folder of answers: what ``polychrony analyze`` does.

The folder appears by renaming: whoever sees it sees all of it.

=====================  =====================================================================
events.parquet         the events that went in (of a video: those that the DVS pixels made)
<output>.parquet       all rows of an output
<output>.json          its first rows, with the count of all
summary.json           what went in, what came out, digests, what was dropped, how long it took
report.html            plots
=====================  =====================================================================
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from pipeline import packets
from pipeline.clock import Clock
from pipeline.engine import Engine, Result
from pipeline.graph import Graph
from pipeline.packets import Events
from pipeline.rows import unpack
from pipeline.sinks.report import write_report
from pipeline.sinks.statistics import DetectionStatistics, EventStatistics, FieldStatistics
from pipeline.sinks.tables import JsonTable, ParquetTable, as_columns, events_port
from pipeline.sources.base import Source
from pipeline.spec import PipelineSpec
from pipeline.stage import Port
from pipeline.stages.motion_field import MotionField

Progress = Callable[[float, int, dict[str, int]], None]
"""Called with (fraction done, events so far, rows so far per output)."""

_STEP = 65_536
"""Events are taken in at least so many at a time, where the source gives fewer."""


@dataclass(frozen=True)
class Selection:
    """A part of an input.

    Attributes:
        from_us: events before this are left out; counted from stream time 0.
        to_us: so are events at or after this.
        roi: x, y, width, height: so are events outside this rectangle; coordinates stay.
    """

    from_us: int | None = None
    to_us: int | None = None
    roi: tuple[int, int, int, int] | None = None

    def apply(self, events: Events) -> Events:
        """The events inside."""
        t, x, y, p = events
        kept = np.ones(len(t), np.bool_)
        if self.from_us is not None:
            kept &= t >= self.from_us
        if self.to_us is not None:
            kept &= t < self.to_us
        if self.roi is not None:
            left, top, width, height = self.roi
            kept &= (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
        return events if kept.all() else (t[kept], x[kept], y[kept], p[kept])

    def over(self, t: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
        """Whether everything from here on is too late."""
        return self.to_us is not None and len(t) > 0 and int(t[0]) >= self.to_us


EVERYTHING = Selection()


def run(
    source: Source, spec: PipelineSpec, selection: Selection = EVERYTHING, clock: Clock | None = None
) -> Iterator[tuple[Engine, Events, list[Result], float]]:
    """Run a pipeline over a source, step by step: (engine, events, results, fraction done).

    The last step has no events and closes what is open.

    Raises:
        SpecError: the pipeline does not fit the source.
        SourceError: the source cannot be read on.
    """
    engine = Engine(Graph(spec, source.info.sensor, source.flags), clock)
    for arrived, fraction in _gathered(source):
        if selection.over(arrived[0]):
            break
        events = selection.apply(arrived)
        yield engine, events, engine.feed(events), fraction
    yield engine, packets.no_events(), engine.end(), 1.0


def analyze(
    source: Source, spec: PipelineSpec, out: Path, name: str,
    selection: Selection = EVERYTHING, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Analyze ``source`` into the folder ``out``; returns what summary.json says.

    Args:
        source: freshly opened.
        spec: the pipeline.
        out: the folder that appears, or whose files are replaced.
        name: what the report calls the input.
        selection: a part of it.
        progress: told how far it is.

    Raises:
        SpecError: the pipeline does not fit the source.
        SourceError: the source cannot be read on.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        summary = _analyze_into(part, source, spec, name, selection, progress or _silent)
        _appear(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return summary


def _analyze_into(
    folder: Path, source: Source, spec: PipelineSpec, name: str, selection: Selection, progress: Progress
) -> dict[str, Any]:
    started = time.perf_counter()
    engine: Engine | None = None
    with ExitStack() as files:
        writers = _Writers(folder, files, source)
        for engine, events, results, fraction in run(source, spec, selection):
            writers.prepare(engine, spec)
            writers.take(events, results)
            progress(fraction, writers.events.events, engine.rows)
    assert engine is not None  # noqa: S101 - run always ends with a step
    seconds = time.perf_counter() - started
    summary = _summary(source, spec, name, selection, engine, writers, seconds)
    write_report(folder / "report.html", summary, writers.events, writers.detections, writers.fields)
    summary["artifacts"] = sorted([*(path.name for path in folder.iterdir()), "summary.json"])
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


class _Writers:
    """Where each step of a run goes."""

    def __init__(self, folder: Path, files: ExitStack, source: Source) -> None:
        self._folder, self._files = folder, files
        sensor = source.info.sensor
        self.events = EventStatistics(sensor)
        self.detections: dict[str, DetectionStatistics] = {}
        self.fields: dict[str, FieldStatistics] = {}
        self._ports: dict[str, Port] = {}
        self._tables: dict[str, list[ParquetTable | JsonTable]] = {}
        self._event_table = files.enter_context(ParquetTable(folder / "events.parquet", events_port(sensor)))

    def prepare(self, engine: Engine, spec: PipelineSpec) -> None:
        """Open the tables of the outputs, once."""
        if self._ports:
            return
        self._ports = engine.graph.outputs
        for name, port in self._ports.items():
            json_table = JsonTable(self._folder / f"{name}.json", name, port)
            self._files.callback(json_table.close)
            parquet = self._files.enter_context(ParquetTable(self._folder / f"{name}.parquet", port))
            self._tables[name] = [parquet, json_table]
            if port.kind == "detections":
                self.detections[name] = DetectionStatistics(port)
            elif port.kind == "field":
                self.fields[name] = FieldStatistics(port, *_tile_and_window(spec, name))

    def take(self, events: Events, results: list[Result]) -> None:
        """Write one step."""
        self.events.add(events)
        self._event_table.add(as_columns(events))
        for result in results:
            columns = unpack(result.rows, self._ports[result.output])
            for table in self._tables[result.output]:
                table.add(columns)
            if len(result.rows) and result.output in self.detections:
                self.detections[result.output].add(columns)
            elif len(result.rows) and result.output in self.fields:
                self.fields[result.output].add(columns)


def _summary(
    source: Source, spec: PipelineSpec, name: str, selection: Selection,
    engine: Engine, writers: _Writers, seconds: float,
) -> dict[str, Any]:  # fmt: skip
    info, seen = source.info, writers.events
    return {
        "polychrony": version("polychrony"),
        "input": {
            "name": name, "format": info.format,
            "width": info.sensor.width, "height": info.sensor.height, "sensor_from": info.sensor_from,
            "epoch_ns": info.epoch_ns, **info.details,
        },
        "selection": {"from_us": selection.from_us, "to_us": selection.to_us, "roi": selection.roi},
        "pipeline": {"fingerprint": engine.graph.fingerprint, "spec": spec.model_dump(mode="json")},
        "events": seen.events, "on_events": seen.on,
        "t_first_us": seen.t_first_us, "t_last_us": seen.t_last_us, "duration_us": seen.duration_us,
        "rows": dict(engine.rows),
        "digests": engine.digests(),
        "dropped": engine.dropped,
        "repaired": dict(info.repaired),
        "labels": {
            name: {label.name: int(n) for label, n in zip(found.port.labels, found.by_label, strict=True)}
            for name, found in writers.detections.items()
        },
        "flags": {name: found.flags for name, found in {**writers.detections, **writers.fields}.items()},
        "seconds": round(seconds, 3),
        "events_per_second": round(seen.events / max(seconds, 1e-9)),
        "times_real_time": round(seen.duration_us / 1e6 / max(seconds, 1e-9), 3),
    }  # fmt: skip


def _silent(_fraction: float, _events: int, _rows: dict[str, int]) -> None:
    """Nobody wants to know."""


def _gathered(source: Source) -> Iterator[tuple[Events, float]]:
    """The source's batches, small ones joined: a frame's handful of events is not worth a step."""
    parts: list[Events] = []
    n, fraction, said = 0, 0.0, 0.0
    for events, fraction in source.batches():
        parts.append(events)
        n += len(events[0])
        if n >= _STEP or fraction - said >= 0.01:
            yield packets.join(parts), fraction
            parts, n, said = [], 0, fraction
    if parts:
        yield packets.join(parts), fraction


def _tile_and_window(spec: PipelineSpec, output: str) -> tuple[int, int]:
    """Pixels and us of what one row of a field stands for."""
    config = next(config for config in spec.stages if config.id == output.partition(".")[0])
    return (config.tile, config.window_us) if isinstance(config, MotionField) else (1, 1000)


def _appear(part: Path, out: Path) -> None:
    """Rename ``part`` to ``out``; into a folder that exists, file by file, the summary last."""
    part.chmod(0o755)
    if not out.exists():
        part.rename(out)
        return
    for path in sorted(part.iterdir(), key=lambda path: path.name == "summary.json"):
        path.replace(out / path.name)
