"""``downsample``: coarser pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.packets import Packet
from pipeline.stage import Context, Stage, StageConfig


class Downsample(StageConfig):
    """Maps (x, y) to (x // factor, y // factor); no event is dropped.

    Speeds behind it are in coarse pixels per ms: ``factor`` times smaller than the sensor's.
    """

    kind: Literal["downsample"] = "downsample"
    factor: int = Field(default=2, ge=1, le=64, description="sensor pixels a side of one coarse pixel")

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _DownsampleStage(self, context)


class _DownsampleStage(Stage):
    def __init__(self, config: Downsample, context: Context) -> None:
        fine, factor = context.upstream, config.factor
        super().__init__(main=replace(fine, width=-(-fine.width // factor), height=-(-fine.height // factor)))
        self._factor = np.uint16(factor)

    def work(self, packet: Packet) -> list[Packet]:
        c = packet.columns
        return [packet.with_columns(x=c["x"] // self._factor, y=c["y"] // self._factor)]
