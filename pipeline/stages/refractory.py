"""``refractory``: each pixel stays silent for a while after an event that was kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kernels import filters
from pipeline.packets import Packet
from pipeline.stage import Arrays, Context, Stage, StageConfig


class Refractory(StageConfig):
    """Keeps an event iff its pixel kept none within ``period_us``: t - last > period_us."""

    kind: Literal["refractory"] = "refractory"
    period_us: int = Field(default=1000, ge=0, le=10_000_000, description="refractory period, us")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        return 8 * context.upstream.width * context.upstream.height

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _RefractoryStage(self, context)


class _RefractoryStage(Stage):
    def __init__(self, config: Refractory, context: Context) -> None:
        super().__init__(main=context.upstream)
        self._period_us = config.period_us
        self._last = filters.blank_map(context.upstream.width, context.upstream.height)

    def work(self, packet: Packet) -> list[Packet]:
        c = packet.columns
        return [packet.keep(filters.refractory(c["t"], c["x"], c["y"], self._last, self._period_us))]

    def reset(self, packet: Packet) -> None:
        self._last[:] = filters.NEVER

    def snapshot(self) -> Arrays:
        return {"last": self._last.copy()}

    def restore(self, arrays: Arrays) -> None:
        self._last[:] = arrays["last"]
