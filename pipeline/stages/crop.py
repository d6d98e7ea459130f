"""``crop``: a window onto the sensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.packets import Packet
from pipeline.stage import ConfigMismatch, Context, Stage, StageConfig


class Crop(StageConfig):
    """Keeps the events inside a rectangle, and moves its origin to (0, 0)."""

    kind: Literal["crop"] = "crop"
    x: int = Field(ge=0, le=65535, description="left edge, pixels")
    y: int = Field(ge=0, le=65535, description="upper edge, pixels")
    width: int = Field(ge=1, le=65536, description="pixels")
    height: int = Field(ge=1, le=32768, description="pixels")

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        sensor = context.upstream
        if self.x + self.width > sensor.width:
            raise ConfigMismatch(
                "width", f"x + width = {self.x + self.width} exceeds the sensor's {sensor.width}"
            )
        if self.y + self.height > sensor.height:
            raise ConfigMismatch(
                "height", f"y + height = {self.y + self.height} exceeds the sensor's {sensor.height}"
            )
        return _CropStage(self, context)


class _CropStage(Stage):
    def __init__(self, config: Crop, context: Context) -> None:
        super().__init__(main=replace(context.upstream, width=config.width, height=config.height))
        self._config = config

    def work(self, packet: Packet) -> list[Packet]:
        area = self._config
        # uint16 differences wrap, which sends what lies left of or above the window far to its right.
        x = packet.columns["x"] - np.uint16(area.x)
        y = packet.columns["y"] - np.uint16(area.y)
        inside = (x < area.width) & (y < area.height)
        return [packet.with_columns(x=x, y=y).keep(inside)]
