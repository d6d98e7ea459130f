"""Options that several verbs share, and how their text becomes values."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from pipeline.offline import Selection
from pipeline.sources import (
    FORMATS,
    PRESETS,
    EmulatorConfig,
    Options,
    Policy,
    Source,
    VideoOptions,
    open_source,
)
from pipeline.sources.formats.reader import UNITS_US
from pipeline.sources.frames import SENSORS, Fit
from pipeline.sources.interpolation import MOST_INSERTED, Mode
from pipeline.spec import Sensor

InputFile = Annotated[Path, typer.Argument(help="A video or an event recording.", show_default=False)]
From = Annotated[
    float | None, typer.Option("--from", min=0, max=9e9, help="Leave out what is earlier; stream time, s.")
]
To = Annotated[
    float | None, typer.Option("--to", min=0, max=9e9, help="Leave out what is not earlier; stream time, s.")
]
Roi = Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Only events inside this rectangle.")]
PipelineName = Annotated[str, typer.Option("--pipeline", "-p", help="A preset or a YAML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@dataclass(frozen=True)
class Inputs:
    """How an input is read: the options of every verb that reads one, see :func:`takes_input`."""

    sensor: Annotated[
        str | None, typer.Option(metavar="WxH", help="Sensor size of a recording that does not say.")
    ] = None
    format: Annotated[
        str | None, typer.Option(help=f"Where content does not tell: {', '.join(FORMATS)}.")
    ] = None
    columns: Annotated[
        str | None, typer.Option(metavar="ORDER", help="A table's columns, such as xytp; _ skips one.")
    ] = None
    time_unit: Annotated[str | None, typer.Option(help="Of a table's times: s, ms, us or ns.")] = None
    topic: Annotated[str | None, typer.Option(help="Event topic of a ROS bag that has several.")] = None
    on_fault: Annotated[
        str, typer.Option(help="What becomes of what is wrong in a file: error, repair or drop.")
    ] = "repair"
    frame_rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1e6, help="Frames per second of scene time, where a video's times are not."
        ),
    ] = None
    frame_interpolation: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Frames made between a video's: until nothing moves more than 2 px, none, or N steps.",
        ),
    ] = "auto"
    dvs: Annotated[
        str, typer.Option(help=f"Pixels that see a video: {', '.join(PRESETS)} (v2e's presets and defaults).")
    ] = "ideal"
    dvs_model: Annotated[str, typer.Option(help="Whose pixel model: polychrony, or an installed v2e.")] = (
        "polychrony"
    )
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the pixels' mismatch and noise.")] = 0
    camera: Annotated[
        str | None, typer.Option(help=f"Fit a video to the grid of this camera: {', '.join(SENSORS)}.")
    ] = None
    fit: Annotated[str, typer.Option(help="How: letterbox or crop.")] = "letterbox"
    timing: Annotated[
        str, typer.Option(help="Event times of a video: 'interpolated', or 'compatible' with v2e's slots.")
    ] = "interpolated"
    threshold: Annotated[
        float | None,
        typer.Option(min=0.01, max=10, help="Event threshold of a video's pixels, log intensity."),
    ] = None

    def open(self, path: Path) -> Source:
        """The source that reads this file."""
        return open_source(path, self.reading, self.watching)

    @property
    def reading(self) -> Options:
        """How a recording is read."""
        _one_of("--format", self.format, FORMATS)
        _one_of("--time-unit", self.time_unit, UNITS_US)
        _one_of("--on-fault", self.on_fault, get_args(Policy))
        return Options(
            parse_sensor(self.sensor), self.format, self.columns, self.time_unit, self.topic,
            cast(Policy, self.on_fault),
        )  # fmt: skip

    @property
    def watching(self) -> VideoOptions:
        """How a video is seen."""
        _one_of("--timing", self.timing, ("interpolated", "compatible"))
        _one_of("--dvs", self.dvs, PRESETS)
        _one_of("--dvs-model", self.dvs_model, ("polychrony", "v2e"))
        _one_of("--camera", self.camera, SENSORS)
        _one_of("--fit", self.fit, get_args(Fit))
        pixels: dict[str, Any] = {"timing": self.timing, "seed": self.seed}
        if self.threshold is not None:
            pixels |= {"theta_on": self.threshold, "theta_off": self.threshold}
        emulator = EmulatorConfig.model_validate(PRESETS[self.dvs].model_dump() | pixels)
        return VideoOptions(
            emulator, self.frame_rate, _mode(self.frame_interpolation), self.camera, cast(Fit, self.fit),
            self.dvs_model,
        )  # fmt: skip


def takes_input(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb all options of :class:`Inputs`; it takes them as its parameter ``inputs``."""
    own = inspect.signature(verb, eval_str=True)
    options = inspect.signature(Inputs, eval_str=True)

    @wraps(verb)
    def command(**values: Any) -> Any:
        inputs = Inputs(**{name: values.pop(name) for name in options.parameters})
        return verb(**values, inputs=inputs)

    kept = [one for name, one in own.parameters.items() if name != "inputs"]
    keyword = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in [*kept, *options.parameters.values()]
    ]
    signature = own.replace(parameters=keyword)
    command.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
    command.__annotations__ = {one.name: one.annotation for one in keyword}
    return command


def _mode(text: str) -> Mode:
    if text in {"auto", "off"}:
        return cast(Mode, text)
    if not re.fullmatch(r"\d{1,3}", text) or not 1 <= int(text) <= MOST_INSERTED + 1:
        raise typer.BadParameter(
            f"allowed are auto, off, 1 .. {MOST_INSERTED + 1}", param_hint="--frame-interpolation"
        )
    return int(text)


def _one_of(option: str, value: str | None, allowed: Iterable[str]) -> None:
    if value is not None and value not in allowed:
        raise typer.BadParameter(f"allowed are {', '.join(allowed)}", param_hint=option)


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
    for name, value in (("--from", from_s), ("--to", to_s)):
        if value is not None and not math.isfinite(value):
            raise typer.BadParameter(f"{value} is no time", param_hint=name)
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
