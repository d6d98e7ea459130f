"""The pixel grid of a camera."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema


class Sensor(BaseModel):
    """The pixel grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=65536, description="pixels")
    height: int = Field(ge=1, le=32768, description="pixels")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _to_sensor(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    if not match or not (1 <= int(match[1]) <= 65536 and 1 <= int(match[2]) <= 32768):
        raise ValueError(f"{value!r} is no size such as 640x480 (1..65536 x 1..32768)")
    return Sensor(width=int(match[1]), height=int(match[2]))


SensorSize = Annotated[
    Sensor, BeforeValidator(_to_sensor), PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5}x\d{1,5}$"}),
]  # fmt: skip
"""A sensor written as ``640x480``."""
