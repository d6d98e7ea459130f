"""Everything that decides what a motif bank becomes, and the banks of the zoo."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.training.classes import Rings

MotionKind = Literal[
    "saccades", "slides", "clouds", "bars", "dots", "gratings", "looming", "rotation", "recordings"
]


class MotifTraining(BaseModel):
    """A training; the same configuration makes the same bank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "motif8"
    motion: MotionKind = Field(default="slides", description="what is moved how")
    directions: int = Field(default=8, ge=2)
    speeds_px_per_ms: tuple[float, ...] = (0.15, 0.45)
    turned_deg: tuple[float, ...] = Field(default=(), description="by how much each speed's ring is turned")
    speed_range: tuple[float, float] = Field(default=(0.08, 0.8), description="of `slides`")
    size: int = Field(default=13, ge=3, le=31, description="side of the kernel, odd")
    delays: int = Field(default=21, ge=2, le=64)
    bin_us: int = 1000
    contrast_flip: bool = False
    largest: int = Field(default=1023, ge=1, le=32767, description="integer that the largest weight becomes")
    steps: int = Field(default=4000, ge=1)
    movies: int = Field(default=8, ge=1, description="movies a step")
    voxels: int = Field(default=400, ge=1, description="voxels a movie")
    rate: float = Field(default=3e-3, gt=0)
    patience: int = Field(
        default=8, ge=1, description="thousands of steps without a better validation that end the training"
    )
    leaves: int = Field(default=96, ge=0, description="dead-leaves images among the training images")
    images: str | None = Field(default=None, description="folder of the user's own images")
    recordings: str | None = Field(
        default=None, description="folder of the user's recordings, a folder a label; of motion `recordings`"
    )
    test_movies: int = Field(default=160, ge=1)
    seed: int = 1

    @property
    def rings(self) -> Rings:
        """The classes."""
        return Rings(self.directions, self.speeds_px_per_ms, self.turned_deg)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.size % 2 == 0:
            raise ValueError("size: a kernel has a centre, so its side is odd")
        if (self.motion == "recordings") != (self.recordings is not None):
            raise ValueError("recordings: a folder, of motion `recordings` and of no other")
        if self.turned_deg and len(self.turned_deg) != len(self.speeds_px_per_ms):
            raise ValueError("turned_deg: one for each of speeds_px_per_ms")
        return self


PRESETS = {
    "motif8": MotifTraining(contrast_flip=True, test_movies=400),
    "motif36": MotifTraining(
        name="motif36", motion="saccades", directions=12, speeds_px_per_ms=(0.25, 0.397, 0.63),
        turned_deg=(0.0, 15.0, 0.0), size=17, contrast_flip=True, steps=12_000, test_movies=1000,
    ),
    "looming": MotifTraining(
        name="looming", motion="looming", size=21, delays=32, steps=4000, voxels=100,
    ),
}  # fmt: skip
