"""The bundled sample: a clip of textures that slide in known directions, and the truth about it."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict

CLIP = Path(__file__).parent / "windows.mp4"
TRUTH = Path(__file__).parent / "windows.json"


class Window(BaseModel):
    """A round window behind which a texture slides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float
    y: float
    radius: float
    direction_deg: float
    speed_px_per_ms: float

    @property
    def velocity(self) -> tuple[float, float]:
        """(vx, vy), px/ms; y grows downwards."""
        angle = math.radians(self.direction_deg)
        return self.speed_px_per_ms * math.cos(angle), self.speed_px_per_ms * math.sin(angle)


class Truth(BaseModel):
    """What the clip shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int
    height: int
    frames: int
    frames_per_second: float
    windows: tuple[Window, ...]


def truth() -> Truth:
    """The truth about :data:`CLIP`."""
    return Truth.model_validate_json(TRUTH.read_bytes())
