"""Options that several verbs share, and how their text becomes values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from pipeline.offline import Selection
from pipeline.sources import EmulatorConfig, Source, open_source
from pipeline.spec import Sensor

InputFile = Annotated[Path, typer.Argument(help="A video or an event recording.", show_default=False)]
SensorSize = Annotated[
    str | None, typer.Option("--sensor", metavar="WxH", help="Sensor size of a recording that does not say.")
]
FrameRate = Annotated[
    float | None,
    typer.Option(
        min=0.001, max=1e6, help="Frames per second of scene time, where a video's own rate is not."
    ),
]
Timing = Annotated[
    str, typer.Option(help="Event times of a video: 'interpolated', or 'compatible' with v2e's slots.")
]
Threshold = Annotated[
    float, typer.Option(min=0.01, max=10, help="Event threshold of a video's pixels, log intensity.")
]
From = Annotated[
    float | None, typer.Option("--from", min=0, help="Leave out what is earlier; stream time, s.")
]
To = Annotated[
    float | None, typer.Option("--to", min=0, help="Leave out what is not earlier; stream time, s.")
]
Roi = Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Only events inside this rectangle.")]
PipelineName = Annotated[str, typer.Option("--pipeline", "-p", help="A preset or a YAML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def source_of(
    path: Path, sensor: str | None, frame_rate: float | None,
    timing: str = "interpolated", threshold: float = 0.2,
) -> Source:  # fmt: skip
    """Open an input with these options."""
    if timing not in {"interpolated", "compatible"}:
        raise typer.BadParameter("allowed are interpolated, compatible", param_hint="--timing")
    emulator = EmulatorConfig.model_validate(
        {"theta_on": threshold, "theta_off": threshold, "timing": timing}
    )
    return open_source(path, parse_sensor(sensor), emulator, frame_rate)


def parse_sensor(text: str | None) -> Sensor | None:
    """``640x480`` as a sensor."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or not (1 <= int(match[1]) <= 65536 and 1 <= int(match[2]) <= 32768):
        raise typer.BadParameter(
            f"{text!r} is no size such as 640x480 (1..65536 x 1..32768)", param_hint="--sensor"
        )
    return Sensor(width=int(match[1]), height=int(match[2]))


def parse_selection(from_s: float | None, to_s: float | None, roi: str | None) -> Selection:
    """The part of an input that ``--from``, ``--to`` and ``--roi`` leave."""
    from_us = None if from_s is None else round(from_s * 1e6)
    to_us = None if to_s is None else round(to_s * 1e6)
    if from_us is not None and to_us is not None and to_us <= from_us:
        raise typer.BadParameter(f"{to_s} is not later than --from {from_s}", param_hint="--to")
    if roi is None:
        return Selection(from_us, to_us)
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", roi)
    if not match or int(match[3]) == 0 or int(match[4]) == 0:
        raise typer.BadParameter(f"{roi!r} is no rectangle such as 10,20,64,48", param_hint="--roi")
    left, top, width, height = (int(part) for part in match.groups())
    return Selection(from_us, to_us, (left, top, width, height))
