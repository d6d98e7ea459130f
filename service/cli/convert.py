"""``polychrony convert``: a recording or a video as a recording in another format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipeline.packets import Events
from pipeline.sinks import recordings
from service.cli.console import note, print_json, progress
from service.cli.options import (
    AsJson,
    FrameRate,
    From,
    InputFile,
    Roi,
    SensorSize,
    Threshold,
    Timing,
    To,
    parse_selection,
    source_of,
)


def convert(
    path: InputFile,
    to_path: Annotated[
        Path, typer.Argument(help=f"Ends in {', '.join(recordings.SUFFIXES)}.", metavar="OUT")
    ],
    zero_time: Annotated[bool, typer.Option("--zero-time", help="Subtract the first event's time.")] = False,
    sensor: SensorSize = None,
    frame_rate: FrameRate = None,
    timing: Timing = "interpolated",
    threshold: Threshold = 0.2,
    from_s: From = None,
    to_s: To = None,
    roi: Roi = None,
    as_json: AsJson = False,
) -> None:
    """Write the events of an input as a recording in the format of OUT's suffix."""
    selection = parse_selection(from_s, to_s, roi)
    if to_path.exists() and path.exists() and to_path.samefile(path):
        raise typer.BadParameter("is the input itself", param_hint="OUT")
    source = source_of(path, sensor, frame_rate, timing, threshold)
    with progress(f"converting {path.name}", quiet=as_json) as advance:

        def batches() -> Iterator[Events]:
            start: int | None = None
            for batch, fraction in source.batches():
                t, x, y, p = selection.apply(batch)
                if zero_time and len(t):
                    start = int(t[0]) if start is None else start
                    t = t - start
                advance(fraction, "")
                yield t, x, y, p

        n = recordings.write(to_path, batches(), source.info.sensor)
    if as_json:
        print_json({"path": str(to_path), "events": n, "bytes": to_path.stat().st_size})
    else:
        note(f"{to_path}: {n:,} events, {to_path.stat().st_size:,} bytes")
