"""``background_activity``: noise has no neighbours."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kernels import filters
from pipeline.packets import Packet
from pipeline.stage import Arrays, Context, Stage, StageConfig


class BackgroundActivity(StageConfig):
    """Keeps an event iff one of its 8 neighbours fired within the last ``window_us``."""

    kind: Literal["background_activity"] = "background_activity"
    window_us: int = Field(default=5000, ge=0, le=10_000_000, description="how far back support may lie, us")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        return 8 * (context.upstream.width + 2) * (context.upstream.height + 2)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _BackgroundActivityStage(self, context)


class _BackgroundActivityStage(Stage):
    def __init__(self, config: BackgroundActivity, context: Context) -> None:
        super().__init__(main=context.upstream)
        self._window_us = config.window_us
        self._last = filters.blank_map(context.upstream.width + 2, context.upstream.height + 2)

    def work(self, packet: Packet) -> list[Packet]:
        c = packet.columns
        kept = filters.background_activity(c["t"], c["x"], c["y"], self._last, self._window_us)
        return [packet.keep(kept)]

    def reset(self, packet: Packet) -> None:
        self._last[:] = filters.NEVER

    def snapshot(self) -> Arrays:
        return {"last": self._last.copy()}

    def restore(self, arrays: Arrays) -> None:
        self._last[:] = arrays["last"]
