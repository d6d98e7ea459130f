"""``polychrony info``: what an input is."""

from __future__ import annotations

from typing import Any

from pipeline.sources import InputOptions, SourceInfo, open_source
from pipeline.sources.video import Video
from service.cli.console import err, out, print_json, progress, table, warn
from service.cli.options import AsJson, InputFile, takes_input
from service.cli.standard_input import standard_input

_ORIGIN = {"file": "as the file says", "given": "as given", "events": "what the events span"}


@takes_input
def info(path: InputFile, as_json: AsJson = False, *, inputs: InputOptions) -> None:
    """Say what an input is: format, sensor, events, times, and what is wrong with it.

    Recordings are read through; of a video only what its container says.
    """
    with standard_input([path]) as (file,):
        source = open_source(file, inputs)
        if not isinstance(source, Video):
            with progress(f"reading {path.name}", quiet=as_json or not err.is_terminal) as advance:
                for reading in source.batches():
                    advance(reading.done, "")
    found = source.info
    document: dict[str, Any] = {
        "format": found.format, "width": found.sensor.width, "height": found.sensor.height,
        "events": found.events, "triggers": found.triggers,
        "t_first_us": found.t_first_us, "t_last_us": found.t_last_us,
        "sensor_from": found.sensor_from, "epoch_ns": found.epoch_ns, "repaired": found.repaired,
        "warnings": found.warnings,
        **found.details,
    }  # fmt: skip
    warn(path.name, found.warnings)
    if as_json:
        print_json(document)
        return
    _show(path.name, found)


def _show(name: str, found: SourceInfo) -> None:
    rows = table(name, "")
    rows.add_row("format", found.format)
    rows.add_row("sensor", f"{found.sensor} px ({_ORIGIN[found.sensor_from]})")
    if found.events is not None and found.t_first_us is not None and found.t_last_us is not None:
        seconds = (found.t_last_us - found.t_first_us) / 1e6
        rows.add_row("events", f"{found.events:,}")
        rows.add_row("duration", f"{seconds:.6f} s")
        rows.add_row("first event", f"{found.t_first_us:,} us")
        rows.add_row("last event", f"{found.t_last_us:,} us")
        if seconds > 0:
            rows.add_row("rate", f"{found.events / seconds / 1e6:.3f} Mev/s")
        rows.add_row("triggers", f"{found.triggers:,}")
    if found.epoch_ns:
        rows.add_row("epoch", f"{found.epoch_ns:,} ns since 1970")
    wrong = {f"wrong: {what.replace('_', ' ')}": n for what, n in found.repaired.items()}
    for what, value in {**found.details, **wrong}.items():
        rows.add_row(what.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    out.print(rows)
