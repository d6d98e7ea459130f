"""How an input is read: the one description that the command line, REST, a job's child and the docs share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from pipeline.errors import in_words
from pipeline.sensor import SensorSize
from pipeline.sources.base import Policy
from pipeline.sources.emulator import PRESETS, EmulatorConfig
from pipeline.sources.frames import Fit
from pipeline.sources.interpolation import MOST_INSERTED, Mode
from pipeline.sources.selection import Selection

if TYPE_CHECKING:
    from pipeline.sources.video import VideoOptions

FORMAT_NAMES: list[str] = ["video", "images"]
"""Every format that is read; :mod:`pipeline.sources.formats` adds recordings to those that become events by the pixel
model."""


def _known_format(name: str) -> str:
    if name not in FORMAT_NAMES:
        raise ValueError(f"{name!r} is no format that is read; allowed are {', '.join(FORMAT_NAMES)}")
    return name


class _AsEnum:
    """Has the JSON schema list the names that are known when it is asked for."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "enum": list(FORMAT_NAMES)}


Format = Annotated[str, AfterValidator(_known_format), _AsEnum()]
Chip = Literal["DVS128", "DAVIS240", "DAVIS346", "DVS640"]
"""Chips whose address bits AEDAT 1 and 2 recordings hold; the table is in docs/inputs.md."""
TimeUnit = Literal["s", "ms", "us", "ns"]
LATEST_S = 9e9
"""The latest time of a range: 2^53 - 1 us."""


def _to_roi(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", value)
    if not match or int(match[3]) == 0 or int(match[4]) == 0:
        raise ValueError(f"{value!r} is no rectangle such as 10,20,64,48")
    return tuple(int(part) for part in match.groups())


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


Rectangle = Annotated[
    tuple[int, int, int, int], BeforeValidator(_to_roi), PlainSerializer(_as_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5},\d{1,5},\d{1,5},\d{1,5}$"}),
]  # fmt: skip


_APPLIES: dict[str, frozenset[str]] = {
    "columns": frozenset({"csv", "npz", "npy", "mat", "HDF5"}),
    "time_unit": frozenset({"csv", "npz", "npy", "mat", "HDF5", "Parquet"}),
    "group": frozenset({"HDF5", "npz", "mat", "AEDAT3.1"}),
    "topic": frozenset({"ROS bag"}),
}
"""Formats that an option is of use for: with another it is refused, as it would change nothing."""


class InputOptions(BaseModel):
    """What an input does not say of itself, how a video is seen, and which part of it is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format | None = Field(
        default=None,
        description="Format, where the content does not show it (EVT2 or EVT3 without a header).",
    )
    sensor: SensorSize | None = Field(
        default=None, description="Sensor size WIDTHxHEIGHT, where the file does not state it."
    )
    chip: Chip | None = Field(default=None, description="Chip of an AEDAT 1 or 2 recording.")
    columns: str | None = Field(
        default=None, max_length=64,
        description="Order of a table's columns, such as xytp; _ skips one.",
    )  # fmt: skip
    time_unit: TimeUnit | None = Field(default=None, description="Unit of a table's times.")
    zero_time: bool = Field(
        default=False, description="Count time from the first event; needed where times are negative."
    )
    topic: str | None = Field(default=None, max_length=200, description="Event topic of a ROS bag.")
    group: str | None = Field(
        default=None, max_length=200, description="Group of a file with events in several places."
    )
    on_fault: Policy = Field(
        default="repair",
        description="Corrupt data: error rejects the file, repair fixes what can be fixed and drops the rest, "
        "drop drops all of it.",
    )
    frame_rate: float | None = Field(
        default=None, ge=0.001, le=1e6,
        description="Frames per second of the scene, where the file's times are not the scene's or it has none.",
    )  # fmt: skip
    frame_interpolation: str = Field(
        default="auto", pattern=r"^(auto|off|\d{1,3})$",
        description="Split each frame interval of a video into N steps (inserts N - 1 frames); "
        "auto: until nothing moves by more than 2 px a step; off.",
    )  # fmt: skip
    dvs: Literal["ideal", "clean", "noisy", "v2e"] = Field(
        default="ideal", description="DVS pixel that a video is seen with (v2e's presets and defaults)."
    )
    dvs_model: Literal["polychrony", "v2e"] = Field(
        default="polychrony", description="Pixel model: polychrony, or an installed v2e."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of the pixels' mismatch and noise.")
    camera: Literal["dvs128", "davis240", "davis346", "dvxplorer", "evk4"] | None = Field(
        default=None, description="Scale a video to this camera's pixel grid."
    )
    fit: Fit = Field(
        default="letterbox", description="How to scale: letterbox adds borders, crop cuts off what is beyond."
    )
    timing: Literal["interpolated", "compatible"] = Field(
        default="interpolated",
        description="Event times of a video: interpolated, or in v2e's slots (compatible).",
    )
    threshold: float | None = Field(
        default=None, ge=0.01, le=10, description="Event threshold of a video's pixels, log intensity."
    )
    from_s: float | None = Field(
        default=None, ge=0, le=LATEST_S, allow_inf_nan=False,
        description="Start of the range, seconds after the first event.",
    )  # fmt: skip
    to_s: float | None = Field(
        default=None, ge=0, le=LATEST_S, allow_inf_nan=False,
        description="End of the range (exclusive), seconds after the first event.",
    )  # fmt: skip
    absolute: bool = Field(default=False, description="Give the range in the camera's clock instead.")
    roi: Rectangle | None = Field(
        default=None, description="Only events inside this rectangle: X,Y,WIDTH,HEIGHT."
    )

    def first_inapplicable(self, kind: str) -> str | None:
        """The first option that was given and that a format has no use for; None where there is none."""
        given = (name for name in _APPLIES if getattr(self, name) is not None)
        return next((name for name in given if kind not in _APPLIES[name]), None)

    @field_validator("columns")
    @classmethod
    def _names_each_once(cls, order: str | None) -> str | None:
        if order is not None and sorted(order.replace("_", "")) != sorted("txyp"):
            raise ValueError(
                f"must name t, x, y and p once each, with _ for one to skip, such as xytp, not {order!r}"
            )
        return order

    @field_validator("frame_interpolation")
    @classmethod
    def _within_reach(cls, mode: str) -> str:
        if mode.isdecimal() and not 1 <= int(mode) <= MOST_INSERTED + 1:
            raise ValueError(f"allowed are auto, off, 1 .. {MOST_INSERTED + 1}")
        return mode

    @model_validator(mode="after")
    def _range_has_a_length(self) -> InputOptions:
        if self.from_s is not None and self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(
                f"to_s: {self.to_s:g} s is not later than the start of the range, {self.from_s:g} s"
            )
        return self

    @property
    def selection(self) -> Selection:
        """The part of the input that is taken."""
        from_us, to_us = (None if s is None else round(s * 1e6) for s in (self.from_s, self.to_s))
        return Selection(from_us, to_us, self.roi, self.absolute)

    @property
    def watching(self) -> VideoOptions:
        """How a video is seen."""
        from pipeline.sources.video import VideoOptions  # noqa: PLC0415 - it needs what is defined here

        pixels: dict[str, Any] = {"timing": self.timing, "seed": self.seed}
        if self.threshold is not None:
            pixels |= {"theta_on": self.threshold, "theta_off": self.threshold}
        emulator = EmulatorConfig.model_validate(PRESETS[self.dvs].model_dump() | pixels)
        mode: Mode = int(self.frame_interpolation) if self.frame_interpolation.isdecimal() else (
            "auto" if self.frame_interpolation == "auto" else "off"
        )  # fmt: skip
        return VideoOptions(emulator, self.frame_rate, mode, self.camera, self.fit, self.dvs_model)


def first_problem(problem: ValidationError) -> tuple[str, str]:
    """(field, what is wrong and what is allowed) of options that do not hold; the field is "" for all of them."""
    return problems(problem)[0]


def problems(problem: ValidationError) -> list[tuple[str, str]]:
    """The same of every field that does not hold."""
    return [_field_and_message(dict(one)) for one in problem.errors()]


def _field_and_message(one: dict[str, Any]) -> tuple[str, str]:
    field = ".".join(str(part) for part in one["loc"])
    message = in_words(one)
    if one["type"] == "literal_error":
        message = "allowed are " + str(one["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
    elif one["type"] == "string_pattern_mismatch" and field == "frame_interpolation":
        message = f"allowed are auto, off, 1 .. {MOST_INSERTED + 1}"
    if not field and ": " in message:  # the check of several fields names the one that is wrong
        field, _, message = message.partition(": ")
    return field, message[:1].lower() + message[1:]


def options_table() -> str:
    """The table of all options in docs/inputs.md."""
    lines = ["| option | in JSON | default | what |", "|---|---|---|---|"]
    for name, field in InputOptions.model_fields.items():
        default = "" if field.default is None else f"`{str(field.default).lower()}`"
        what = f"{field.description} {_allowed(field.annotation)}".strip()
        lines.append(f"| `--{option_name(name)}` | `{name}` | {default} | {what} |")
    return "\n".join(lines)


def option_name(field: str) -> str:
    """The command line's name of an option, without its dashes."""
    return field.removesuffix("_s") if field in {"from_s", "to_s"} else field.replace("_", "-")


def _allowed(annotation: Any) -> str:
    values: list[Any] = [value for part in (annotation, *get_args(annotation)) for value in get_args(part)]
    named = [value for value in values if isinstance(value, str)]
    if any(isinstance(value, _AsEnum) for value in values):
        named = FORMAT_NAMES
    return f"One of {', '.join(named)}." if named else ""
