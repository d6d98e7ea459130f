"""``polychrony bench``: what this box can take."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import packets, samples
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources import InputOptions, SourceError, open_source
from pipeline.spec import PipelineSpec, SpecError, load, presets
from pipeline.warm import warm
from pipeline.writing import replace_file
from service.cli.console import out, print_json, progress, table, tell
from service.cli.options import AsJson, takes_input
from service.host import machine

_BATCH = 65_536


@takes_input
def bench(
    path: Annotated[Path | None, typer.Argument(help="A recording; default: the bundled sample.")] = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option("--pipeline", "-p", help="Presets or YAML files; default: all presets."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="The fastest of so many runs counts.")] = 3,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the figures and what they were measured on, as JSON."),
    ] = None,
    as_json: AsJson = False,
    *,
    inputs: InputOptions,
) -> None:
    """Measure Mev/s and the real-time factor of each stage and pipeline on one thread."""
    source = open_source(path or samples.CLIP, inputs)
    recording = packets.join([reading.events for reading in source.batches()])
    if len(recording[0]) == 0:
        raise SourceError("nothing to measure: the input makes no events")
    grid = source.info.sensor
    specs = {name: load(name) for name in pipeline or presets()}
    warm()
    found: list[dict[str, Any]] = []
    with progress("measuring", quiet=as_json) as advance:
        for i, (name, spec) in enumerate(specs.items()):
            try:
                found += _measure(name, spec, grid, recording, repeat)
            except SpecError as problem:
                if pipeline:
                    raise
                tell(f"{name} left out: {problem.problem}")
            advance((i + 1) / len(specs), name)
    if report is not None:
        _write(report, (path or samples.CLIP).name, grid, len(recording[0]), repeat, found)
        tell(f"figures: {report}")
    if as_json:
        print_json({"events": len(recording[0]), "sensor": str(grid), "rows": found})
        return
    shown = table("pipeline / stage", "Mev/s", "x real time", "share")
    for row in found:
        title = row["pipeline"] if row["stage"] is None else f"  {row['stage']}"
        shown.add_row(
            title, f"{row['mev_per_s']:.2f}", f"{row['times_real_time']:.1f}", f"{row['share']:.0%}"
        )  # fmt: skip
    out.print(f"{len(recording[0]):,} events, {grid} px, one thread, fastest of {repeat}")
    out.print(shown)


def _write(
    path: Path, name: str, sensor: Sensor, events: int, repeat: int, rows: list[dict[str, Any]]
) -> None:
    document = {
        "machine": machine.describe(), "recording": name, "sensor": str(sensor), "events": events,
        "threads": 1, "fastest_of": repeat,
        "rows": [{**row, "pipeline": Path(row["pipeline"]).name} for row in rows],
    }  # fmt: skip
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode())


def _measure(
    name: str, spec: PipelineSpec, sensor: Sensor, recording: Events, repeat: int
) -> list[dict[str, Any]]:
    runs = [_run_once(spec, sensor, recording) for _ in range(repeat)]
    total, stages = min(runs, key=lambda run: run[0])
    n, duration_s = len(recording[0]), float(recording[0][-1] - recording[0][0]) / 1e6

    def row(stage: str | None, seconds: float) -> dict[str, Any]:
        seconds = max(seconds, 1e-9)
        return {
            "pipeline": name, "stage": stage, "mev_per_s": n / seconds / 1e6,
            "times_real_time": duration_s / seconds, "share": seconds / total,
        }  # fmt: skip

    return [row(None, total), *(row(stage, seconds) for stage, seconds in stages.items())]


def _run_once(spec: PipelineSpec, sensor: Sensor, recording: Events) -> tuple[float, dict[str, float]]:
    graph = Graph(spec, sensor, stopwatch=time.perf_counter)
    engine = Engine(graph)
    start = time.perf_counter()
    for at in range(0, len(recording[0]), _BATCH):
        engine.feed(packets.cut(recording, at, at + _BATCH))
    engine.end()
    return time.perf_counter() - start, graph.seconds
