"""``polychrony convert``: a recording or a video as a recording in another format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from kernels.decode import Triggers
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, Reading, Selection, Source, open_source, selected
from service.cli.console import Advance, note, print_json, progress
from service.cli.options import AsJson, InputFile, takes_part


@takes_part
def convert(
    path: InputFile,
    to_path: Annotated[
        Path, typer.Argument(help=f"Ends in {', '.join(recordings.SUFFIXES)}.", metavar="OUT")
    ],
    to_format: Annotated[
        str | None,
        typer.Option(help=f"Instead of what OUT's suffix stands for: {', '.join(recordings.FORMATS)}."),
    ] = None,
    as_json: AsJson = False,
    *,
    inputs: InputOptions,
) -> None:
    """Write the events of an input as a recording in the format of OUT's suffix."""
    selection, zero_time = inputs.selection, inputs.zero_time
    if to_format is not None and to_format not in recordings.FORMATS:
        raise typer.BadParameter(f"allowed are {', '.join(recordings.FORMATS)}", param_hint="--to-format")
    if to_path.exists() and path.exists() and to_path.samefile(path):
        raise typer.BadParameter("is the input itself", param_hint="OUT")
    source = open_source(path, inputs)
    with progress(f"converting {path.name}", quiet=as_json) as advance:
        readings = _shifted(source, selection, zero_time, advance)
        epoch_ns = 0 if zero_time else source.info.epoch_ns
        written = recordings.write(to_path, readings, source.info.sensor, to_format, epoch_ns)
    left_out = (
        source.info.triggers - written.triggers if selection == Selection() else written.triggers_left_out
    )
    lost = {"triggers_left_out": left_out} if left_out else {}
    size = to_path.stat().st_size
    if as_json:
        document = {
            "path": str(to_path),
            "events": written.events,
            "bytes": size,
            "triggers": source.info.triggers,
        }
        print_json({**document, **lost, "repaired": source.info.repaired})
        return
    note(f"{to_path}: {written.events:,} events, {size:,} bytes")
    for what, n in {**lost, **source.info.repaired}.items():
        note(f"{what.replace('_', ' ')}: {n:,}")


def _shifted(source: Source, selection: Selection, zero_time: bool, advance: Advance) -> Iterator[Reading]:
    """The selected part; with ``zero_time`` its first event lies at 0, and triggers before that are left out."""
    start = None if zero_time else 0
    waiting: list[Triggers] = []
    for events, done, triggers in selected(source, selection):
        t, x, y, p = events
        waiting.append(triggers)
        if start is None and len(t) == 0:
            continue
        start = int(t[0]) if start is None else start
        moved = np.concatenate(waiting) - np.array([start, 0, 0])
        waiting = []
        yield Reading((t - start, x, y, p), done, moved[moved[:, 0] >= 0])
        advance(done, "")
