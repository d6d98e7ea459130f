"""The pixel grid of a camera."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

WIDEST, HIGHEST = 65536, 32768
_LONGEST = 40
_SIZE = r"^\d{1,5}x\d{1,5}$"


class Sensor(BaseModel):
    """The pixel grid. It may be written as ``{"width": 640, "height": 480}``, ``[640, 480]`` or ``"640x480"``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=WIDEST, description="pixels")
    height: int = Field(ge=1, le=HIGHEST, description="pixels")

    @field_validator("width", "height", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool | str):  # yes is no width, and neither is "6_4"
            raise ValueError("a whole number is needed")
        return value

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            match = len(value) <= _LONGEST and re.fullmatch(r"(\d{1,5})x(\d{1,5})", value, re.ASCII)
            if not match or not (1 <= int(match[1]) <= WIDEST and 1 <= int(match[2]) <= HIGHEST):
                raise ValueError(
                    f"{value[:_LONGEST]!r} is no size such as 640x480 (1..{WIDEST} x 1..{HIGHEST})"
                )
            return {"width": int(match[1]), "height": int(match[2])}
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError(f"two numbers are needed, [width, height], not {len(value)}")
            return dict(zip(("width", "height"), value, strict=True))
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        pixels = {"type": "integer", "minimum": 1}
        pair = {
            "type": "array",
            "prefixItems": [{**pixels, "maximum": WIDEST}, {**pixels, "maximum": HIGHEST}],
        }
        grid = handler.resolve_ref_schema(handler(core))
        return {
            "description": "the pixel grid",
            "anyOf": [grid, {**pair, "minItems": 2, "maxItems": 2}, {"type": "string", "pattern": _SIZE}],
        }


SensorSize = Annotated[
    Sensor, PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string", "pattern": _SIZE})
]
"""A sensor written as ``640x480``."""
