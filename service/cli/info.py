"""``polychrony info``: what an input is."""

from __future__ import annotations

from typing import Any

from service.cli.console import out, print_json, table
from service.cli.options import AsJson, FrameRate, InputFile, SensorSize, source_of

_ORIGIN = {"file": "as the file says", "given": "as given", "events": "what the events span"}


def info(
    path: InputFile, sensor: SensorSize = None, frame_rate: FrameRate = None, as_json: AsJson = False
) -> None:
    """Say what an input is: format, sensor, events, times, and what had to be repaired."""
    found = source_of(path, sensor, frame_rate).info
    document: dict[str, Any] = {
        "format": found.format, "width": found.sensor.width, "height": found.sensor.height,
        "events": found.events, "t_first_us": found.t_first_us, "t_last_us": found.t_last_us,
        "sensor_from": found.sensor_from, "epoch_ns": found.epoch_ns, "repaired": found.repaired,
        **found.details,
    }  # fmt: skip
    if as_json:
        print_json(document)
        return
    rows = table(path.name, "")
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
    for name, value in {**found.details, **{f"repaired: {k}": v for k, v in found.repaired.items()}}.items():
        rows.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    out.print(rows)
