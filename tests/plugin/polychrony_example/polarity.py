"""``polarity``: brighter or darker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.packets import Packet
from pipeline.stage import Context, Stage, StageConfig


class Polarity(StageConfig):
    """Keeps the events of one polarity."""

    kind: Literal["polarity"] = "polarity"
    keep: Literal["on", "off"] = Field(default="on", description="which events stay")

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _PolarityStage(self, context)


class _PolarityStage(Stage):
    def __init__(self, config: Polarity, context: Context) -> None:
        super().__init__(main=context.upstream)
        self._on = config.keep == "on"

    def work(self, packet: Packet) -> list[Packet]:
        return [packet.keep(packet.columns["p"] == self._on)]
