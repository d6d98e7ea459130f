"""A recording or a video through a pipeline into a folder of answers: what ``polychrony analyze`` does.

The folder appears by renaming: whoever sees it sees all of it.

=====================  =====================================================================
events.parquet         the events that went in (of a video: those that the DVS pixels made)
<output>.parquet       all rows of an output
<output>.json          its first rows, with the count of all
summary.json           what went in, what came out, digests, what was dropped, how long it took
report.html            plots
annotated.webm         where asked for: a video of the events and of what was found in them
=====================  =====================================================================
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pipeline.engine import Engine, Result
from pipeline.models import registry
from pipeline.offline import engine_for, steps
from pipeline.optional_imports import installed
from pipeline.packets import Events
from pipeline.rows import unpack
from pipeline.sinks.annotated import Annotated, fits
from pipeline.sinks.recordings import CannotWrite
from pipeline.sinks.statistics import (
    DecisionStatistics,
    DetectionStatistics,
    EventStatistics,
    FieldStatistics,
    Statistics,
    statistics,
)
from pipeline.sinks.tables import JsonTable, ParquetTable, as_columns, events_port
from pipeline.sources.base import Source
from pipeline.sources.selection import EVERYTHING, Selection
from pipeline.spec import PipelineSpec
from pipeline.stages.delta_network import DeltaNetworkStage
from pipeline.stages.motif import Motif
from pipeline.stages.spiking_classifier import SpikingClassifier

Progress = Callable[[float, int, dict[str, int]], None]
"""Called with (fraction done, events so far, rows so far per output)."""


def analyze(
    source: Source, spec: PipelineSpec, out: Path, name: str,
    selection: Selection = EVERYTHING, progress: Progress | None = None, video: bool = False,
    threads: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Analyze ``source`` into the folder ``out``; returns what summary.json says.

    Args:
        source: freshly opened.
        spec: the pipeline.
        out: the folder that appears, or whose files are replaced.
        name: what the report calls the input.
        selection: a part of it.
        progress: told how far it is.
        video: whether to draw annotated.webm, too.
        threads: how many work on it where the pipeline does not say.

    Raises:
        SpecError: the pipeline does not fit the source.
        SourceError: the source cannot be read on.
        CannotWrite: ``out`` is something else already.
    """
    if out.exists() and not out.is_dir():
        raise CannotWrite(f"{out}: exists and is no folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        summary = _analyze_into(part, source, spec, name, selection, progress or _silent, video, threads)
        _appear(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return summary


def _analyze_into(
    folder: Path, source: Source, spec: PipelineSpec, name: str, selection: Selection, progress: Progress,
    video: bool, threads: int | None,
) -> dict[str, Any]:  # fmt: skip
    started = time.perf_counter()
    engine = engine_for(source, spec, threads=threads)
    with ExitStack() as files:
        writers = _Writers(folder, files, source, engine)
        if video and fits(source.info.sensor):
            writers.annotated = _annotated(folder, files, source, engine)
        for step in steps(engine, source, selection, ahead=(threads or 1) > 1):
            writers.take(step.events, step.results, step.done)
            progress(step.done, writers.events.events, engine.rows)
        if writers.annotated:
            writers.annotated.finish()
    seconds = time.perf_counter() - started
    summary = _summary(source, spec, name, selection, engine, writers, seconds)
    if video:
        summary["video_frames"] = writers.annotated.frames if writers.annotated else 0
    models = {
        config.id: registry.load(config.model)
        for config in spec.stages
        if isinstance(config, Motif | SpikingClassifier | DeltaNetworkStage)
    }
    summary["left_out"] = _left_out()
    if installed("matplotlib"):
        from pipeline.sinks.report import write_report  # noqa: PLC0415 - matplotlib, which slim installations lack

        write_report(folder / "report.html", summary, writers.events, writers.found, models)
    summary["artifacts"] = sorted([*(path.name for path in folder.iterdir()), "summary.json"])
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


class _Writers:
    """Where each step of a run goes."""

    def __init__(self, folder: Path, files: ExitStack, source: Source, engine: Engine) -> None:
        sensor = source.info.sensor
        self.events = EventStatistics(sensor)
        self.found: dict[str, Statistics] = {}
        self.annotated: Annotated | None = None
        self._ports = engine.graph.outputs
        self._tables: dict[str, list[ParquetTable | JsonTable]] = {}
        whole = installed("pyarrow")
        events = folder / "events.parquet"
        self._event_table = files.enter_context(ParquetTable(events, events_port(sensor))) if whole else None
        for name, port in self._ports.items():
            json_table = JsonTable(folder / f"{name}.json", name, port)
            files.callback(json_table.close)
            self._tables[name] = [json_table]
            if whole:
                self._tables[name].append(files.enter_context(ParquetTable(folder / f"{name}.parquet", port)))
            if (gathers := statistics(port)) is not None:
                self.found[name] = gathers

    def take(self, events: Events, results: list[Result], done: float) -> None:
        """Write one step."""
        self.events.add(events)
        if self.annotated:
            self._draw(self.annotated, events, results, done)
        if self._event_table is not None:
            self._event_table.add(as_columns(events))
        for result in results:
            columns = unpack(result.rows, self._ports[result.output])
            for table in self._tables[result.output]:
                table.add(columns)
            if len(result.rows) and result.output in self.found:
                self.found[result.output].add(columns)

    def _draw(self, video: Annotated, events: Events, results: list[Result], done: float) -> None:
        video.events(events, done)
        newest = int(events[0][-1]) if len(events[0]) else None
        for result in results:
            kind = self._ports[result.output].kind
            if len(result.rows) and result.output in {self._first("field"), self._first("decisions")}:
                columns = unpack(result.rows, self._ports[result.output])
                (video.field if kind == "field" else video.decisions)(columns)
            if newest is not None:
                newest = min(newest, result.watermark_us)
        if newest is not None:
            video.until(newest)

    def _first(self, kind: str) -> str | None:
        return next((name for name, port in self._ports.items() if port.kind == kind), None)


def _annotated(folder: Path, files: ExitStack, source: Source, engine: Engine) -> Annotated:
    ports = engine.graph.outputs
    field = next((port for port in ports.values() if port.kind == "field"), None)
    decided = next((port for port in ports.values() if port.kind == "decisions"), None)
    labels = [label.name for label in decided.labels] if decided else []
    video = Annotated(folder / "annotated.webm", source.info.sensor, field.tile if field else 1, labels)
    files.callback(video.close)
    return video


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
            "epoch_ns": info.epoch_ns, "triggers": info.triggers, **info.details,
        },
        "selection": {
            "from_us": selection.from_us, "to_us": selection.to_us, "roi": selection.roi,
            "absolute": selection.absolute, "origin_us": source.origin_us,
        },
        "pipeline": {"fingerprint": engine.graph.fingerprint, "spec": spec.model_dump(mode="json")},
        "events": seen.events, "on_events": seen.on,
        "t_first_us": seen.t_first_us, "t_last_us": seen.t_last_us, "duration_us": seen.duration_us,
        "rows": dict(engine.rows),
        "digests": engine.digests(),
        "dropped": engine.dropped,
        "filtered": dict(engine.graph.removed),
        "repaired": dict(info.repaired),
        "warnings": list(info.warnings),
        "labels": {
            name: {label.name: int(n) for label, n in zip(found.port.labels, found.by_label, strict=True)}
            for name, found in writers.found.items()
            if isinstance(found, DetectionStatistics | DecisionStatistics)
        },
        "fields": {
            name: found.means() for name, found in writers.found.items() if isinstance(found, FieldStatistics)
        },
        "costs": engine.graph.activity(),
        "flags": {name: found.flags for name, found in writers.found.items()},
        "seconds": round(seconds, 3),
        "events_per_second": round(seen.events / max(seconds, 1e-9)),
        "times_real_time": round(seen.duration_us / 1e6 / max(seconds, 1e-9), 3),
    }  # fmt: skip


def _left_out() -> list[str]:
    """What is not made, as a slim installation has no library for it."""
    parts = {"pyarrow": "tables as Parquet", "matplotlib": "report.html"}
    return [f"{what}: no {library}" for library, what in parts.items() if not installed(library)]


def _silent(_fraction: float, _events: int, _rows: dict[str, int]) -> None:
    """No progress is reported."""


def _appear(part: Path, out: Path) -> None:
    """Rename ``part`` to ``out``; into a folder that exists, file by file, the summary last."""
    part.chmod(0o755)
    if not out.exists():
        part.rename(out)
        return
    for path in sorted(part.iterdir(), key=lambda path: path.name == "summary.json"):
        path.replace(out / path.name)
