"""``polychrony analyze``: inputs through a pipeline into folders of answers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import samples
from pipeline.analysis import Progress
from pipeline.analysis import analyze as run_analysis
from pipeline.sources import InputOptions, Source, open_source
from pipeline.spec import PipelineSpec, load
from service.cli.console import out, print_json, progress, say_when_compiling, table, warn
from service.cli.options import AsJson, PipelineName, takes_part
from service.cli.standard_input import STDIN, standard_input
from service.host import limits


@takes_part
def analyze(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT...", help="Videos or recordings; without any, the bundled sample."),
    ] = None,
    pipeline: PipelineName = "motion",
    out_dir: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the answers; default: NAME-answers.")
    ] = None,
    video: Annotated[
        bool, typer.Option("--video", help="Also draw annotated.webm: the events, and what was found.")
    ] = False,
    as_json: AsJson = False,
    *,
    inputs: InputOptions,
) -> None:
    """Analyze inputs: events, results, summary.json and report.html."""
    spec = load(pipeline)
    if not paths:
        paths = [samples.CLIP]
        inputs = inputs.model_copy(
            update={"frame_rate": inputs.frame_rate or samples.truth().frames_per_second}
        )
    folders = [_folder(out_dir, path, len(paths) > 1) for path in paths]
    twice = {str(folder) for folder in folders if folders.count(folder) > 1}
    if twice:
        raise typer.BadParameter(f"several inputs would be written to {', '.join(sorted(twice))}")
    say_when_compiling()
    with standard_input(paths) as files:
        for path, file, folder in zip(paths, files, folders, strict=True):
            _analyze_one(path, open_source(file, inputs), folder, spec, inputs, video, as_json)


def _analyze_one(
    path: Path,
    source: Source,
    folder: Path,
    spec: PipelineSpec,
    inputs: InputOptions,
    video: bool,
    as_json: bool,
) -> None:
    with _bar(f"analyzing {path.name}", as_json) as advance:
        summary = run_analysis(
            source, spec, folder, path.name, inputs.selection, advance, video, limits.cores()
        )
    warn(path.name, summary["warnings"])
    if as_json:
        print_json({**summary, "out": str(folder)})
    else:
        _show(summary, folder)


def _folder(out_dir: Path | None, path: Path, several: bool) -> Path:
    if out_dir is None:
        return Path(f"{_stem(path)}-answers")
    return out_dir / _stem(path) if several else out_dir


def _stem(path: Path) -> str:
    return "stdin" if path == STDIN else path.stem


@contextmanager
def _bar(title: str, quiet: bool) -> Generator[Progress]:
    with progress(title, quiet) as advance:

        def told(fraction: float, events: int, rows: dict[str, int]) -> None:
            counts = ", ".join(f"{n:,} {output}" for output, n in rows.items())
            advance(fraction, f"{events:,} events, {counts}")

        yield told


def _show(summary: dict[str, Any], folder: Path) -> None:
    rows = table(summary["input"]["name"], "")
    rows.add_row("events", f"{summary['events']:,}")
    rows.add_row("duration", f"{summary['duration_us'] / 1e6:.3f} s")
    for name, n in summary["rows"].items():
        rows.add_row(name, f"{n:,} rows")
    for name, means in summary["fields"].items():
        if means["speed"] is not None:
            mean = f"({means['vx']:+.3f}, {means['vy']:+.3f}) px/ms (x right, y down), speed {means['speed']:.3f}"
            rows.add_row(f"{name}: mean motion", mean)
    for name, counts in summary["labels"].items():
        most = sorted(counts.items(), key=lambda item: -item[1])[:3]
        rows.add_row(f"{name}: most", ", ".join(f"{label} ({n:,})" for label, n in most if n) or "none")
    for stage, n in summary["filtered"].items():
        rows.add_row(f"{stage}: filtered out", f"{n:,} events")
    for name, n in {**summary["dropped"], **summary["repaired"]}.items():
        if n:
            rows.add_row(name.replace("_", " "), f"{n:,}")
    if summary.get("video_frames") == 0:
        rows.add_row("video", "not drawn: no events, or more than 1920 pixels a side or 2 million in all")
    rows.add_row("speed", f"{summary['times_real_time']:g} x real time")
    out.print(rows)
    out.print(f"report: {folder / 'report.html'}", markup=False)
