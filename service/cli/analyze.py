"""``polychrony analyze``: inputs through a pipeline into folders of answers."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import samples
from pipeline.analysis import Progress
from pipeline.analysis import analyze as run_analysis
from pipeline.offline import Selection
from pipeline.sources import Source
from pipeline.spec import PipelineSpec, load
from service.cli.console import out, print_json, progress, say_when_compiling, table
from service.cli.options import (
    AsJson,
    From,
    Inputs,
    PipelineName,
    Roi,
    To,
    parse_selection,
    takes_input,
)


@takes_input
def analyze(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT...", help="Videos or recordings; without any, the bundled sample."),
    ] = None,
    pipeline: PipelineName = "motion",
    out_dir: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the answers; default: NAME-answers.")
    ] = None,
    from_s: From = None,
    to_s: To = None,
    roi: Roi = None,
    video: Annotated[
        bool, typer.Option("--video", help="Also draw annotated.webm: the events, and what was found.")
    ] = False,
    name: Annotated[str | None, typer.Option(hidden=True)] = None,
    progress_lines: Annotated[bool, typer.Option(hidden=True)] = False,
    as_json: AsJson = False,
    *,
    inputs: Inputs,
) -> None:
    """Analyze inputs: events, results, summary.json and report.html."""
    spec = load(pipeline)
    selection = parse_selection(from_s, to_s, roi)
    if not paths:
        paths = [samples.CLIP]
        inputs = replace(inputs, frame_rate=inputs.frame_rate or samples.truth().frames_per_second)
    folders = [_folder(out_dir, path, len(paths) > 1) for path in paths]
    twice = {str(folder) for folder in folders if folders.count(folder) > 1}
    if twice:
        raise typer.BadParameter(f"several inputs would be written to {', '.join(sorted(twice))}")
    say_when_compiling()
    for path, folder in zip(paths, folders, strict=True):
        source = inputs.open(path)
        reporter = _lines() if progress_lines else _bar(f"analyzing {path.name}", as_json)
        summary = _analyze_one(source, spec, folder, name or path.name, selection, reporter, video)
        if as_json:
            print_json({**summary, "out": str(folder)})
        elif not progress_lines:
            _show(summary, folder)


def _folder(out_dir: Path | None, path: Path, several: bool) -> Path:
    if out_dir is None:
        return Path(f"{path.stem}-answers")
    return out_dir / path.stem if several else out_dir


def _analyze_one(
    source: Source, spec: PipelineSpec, folder: Path, name: str, selection: Selection,
    reporter: AbstractContextManager[Progress], video: bool,
) -> dict[str, Any]:  # fmt: skip
    with reporter as advance:
        return run_analysis(source, spec, folder, name, selection, advance, video)


@contextmanager
def _bar(title: str, quiet: bool) -> Generator[Progress]:
    with progress(title, quiet) as advance:

        def told(fraction: float, events: int, rows: dict[str, int]) -> None:
            counts = ", ".join(f"{n:,} {output}" for output, n in rows.items())
            advance(fraction, f"{events:,} events, {counts}")

        yield told


@contextmanager
def _lines() -> Generator[Progress]:
    """Progress for a program that reads stdout."""
    last = 0.0

    def told(fraction: float, events: int, rows: dict[str, int]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.1 or fraction >= 1:
            last = now
            print_json({"done": fraction, "events": events, "rows": rows})

    yield told


def _show(summary: dict[str, Any], folder: Path) -> None:
    rows = table(summary["input"]["name"], "")
    rows.add_row("events", f"{summary['events']:,}")
    rows.add_row("duration", f"{summary['duration_us'] / 1e6:.3f} s")
    for name, n in summary["rows"].items():
        rows.add_row(name, f"{n:,} rows")
    for name, counts in summary["labels"].items():
        most = sorted(counts.items(), key=lambda item: -item[1])[:3]
        rows.add_row(f"{name}: most", ", ".join(f"{label} ({n:,})" for label, n in most if n) or "none")
    for name, n in {**summary["dropped"], **summary["repaired"]}.items():
        if n:
            rows.add_row(name.replace("_", " "), f"{n:,}")
    if summary.get("video_frames") == 0:
        rows.add_row("video", "not drawn: no events, or more than 1920 pixels a side or 2 million in all")
    rows.add_row("speed", f"{summary['times_real_time']:g} x real time")
    out.print(rows)
    out.print(f"report: {folder / 'report.html'}", markup=False)
