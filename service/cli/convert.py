"""``polychrony convert``: recordings or videos as a recording in another format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import numpy as np
import typer

from kernels.coding.decode import Triggers
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, Reading, Selection, Source, merge, open_source, selected
from service.cli.console import Advance, print_json, progress, tell, warn
from service.cli.options import AsJson, takes_part
from service.cli.standard_input import STDIN, standard_input


@takes_part
def convert(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN... OUT",
            help=f"Recordings or videos (- for standard input), and where to: ends in "
            f"{', '.join(recordings.SUFFIXES)}, or - for standard output.",
        ),
    ],
    to_format: Annotated[
        str | None,
        typer.Option(help=f"Instead of what OUT's suffix stands for: {', '.join(recordings.FORMATS)}."),
    ] = None,
    merge_by: Annotated[
        str | None,
        typer.Option(
            "--merge",
            metavar="time|append",
            help="Several inputs: in order of time, or one behind the other.",
        ),
    ] = None,
    ms_index: Annotated[
        bool, typer.Option("--ms-index", help="HDF5: DSEC's index of milliseconds, ms_to_idx and t_offset.")
    ] = False,
    as_json: AsJson = False,
    *,
    inputs: InputOptions,
) -> None:
    """Write the events of one or several inputs as a recording."""
    *sources, out = _checked(paths, to_format, merge_by, as_json)
    with standard_input(sources) as files:
        opened = [open_source(path, inputs) for path in files]
        with progress(f"converting {', '.join(path.name for path in sources)}", quiet=as_json) as advance:
            sensor = merge.sensor_of(opened)
            readings = (
                selected(opened[0], inputs.selection)
                if len(opened) == 1
                else merge.merged(opened, cast(merge.How, merge_by), inputs.selection)
            )
            epoch_ns = 0 if inputs.zero_time or merge_by == "append" else merge.epoch_of(opened)
            shifted = _shifted(readings, inputs.zero_time, advance)
            written = recordings.write(out, shifted, sensor, to_format, epoch_ns, ms_index)
    _show(opened, out, written, inputs.selection, as_json)


def _checked(paths: list[Path], to_format: str | None, merge_by: str | None, as_json: bool) -> list[Path]:
    if len(paths) < 2:
        raise typer.BadParameter("name an input and where to write it", param_hint="IN... OUT")
    *sources, out = paths
    if to_format is not None and to_format not in recordings.FORMATS:
        raise typer.BadParameter(f"allowed are {', '.join(recordings.FORMATS)}", param_hint="--to-format")
    if merge_by is not None and merge_by not in get_args(merge.How):
        raise typer.BadParameter("allowed are time, append", param_hint="--merge")
    if len(sources) > 1 and merge_by is None:
        raise typer.BadParameter(
            f"{len(sources)} inputs: time puts their events in order, append one input behind the other",
            param_hint="--merge",
        )
    if str(out) == "-" and to_format is None:
        raise typer.BadParameter("standard output has no suffix: name the format", param_hint="--to-format")
    if str(out) == "-" and as_json:
        raise typer.BadParameter("standard output holds the recording", param_hint="--json")
    if any(path.exists() and out.is_file() and out.samefile(path) for path in sources):
        raise typer.BadParameter("is the input itself", param_hint="OUT")
    if sources.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read once", param_hint="IN")
    return paths


def _show(
    sources: list[Source], out: Path, written: recordings.Written, selection: Selection, as_json: bool
) -> None:
    triggers = sum(source.info.triggers for source in sources)
    left_out = triggers - written.triggers if selection == Selection() else written.triggers_left_out
    lost = {"triggers_left_out": left_out} if left_out else {}
    repaired: dict[str, int] = {}
    for source in sources:
        warn(source.name, source.info.warnings)
        for what, n in source.info.repaired.items():
            repaired[what] = repaired.get(what, 0) + n
    moved = {
        source.name: source.info.details["moved_by_us"]
        for source in sources
        if "moved_by_us" in source.info.details
    }
    size = out.stat().st_size if out.is_file() else None
    if as_json:
        document: dict[str, Any] = {
            "path": str(out), "events": written.events, "bytes": size, "triggers": triggers, **lost,
            "repaired": repaired, "warnings": [one for source in sources for one in source.info.warnings],
        }  # fmt: skip
        print_json({**document, "moved_by_us": moved} if moved else document)
        return
    tell(f"{out}: {written.events:,} events" + (f", {size:,} bytes" if size is not None else ""))
    for name, by in moved.items():
        tell(f"{name}: its clock begins again: moved by {by:,} us")
    for what, n in {**lost, **repaired}.items():
        tell(f"{what.replace('_', ' ')}: {n:,}")


def _shifted(readings: Iterable[Reading], zero_time: bool, advance: Advance) -> Iterator[Reading]:
    """The same; with ``zero_time`` the first event lies at 0, and triggers before that are left out."""
    start = None if zero_time else 0
    waiting: list[Triggers] = []
    for events, done, triggers in readings:
        t, x, y, p = events
        waiting.append(triggers)
        if start is None and len(t) == 0:
            continue
        start = int(t[0]) if start is None else start
        moved = np.concatenate(waiting) - np.array([start, 0, 0])
        waiting = []
        yield Reading((t - start, x, y, p), done, moved[moved[:, 0] >= 0])
        advance(done, "")
