"""``global_motion``: pan, tilt, zoom and rotation of the whole view, from a motion field."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.columns import F64
from kernels.motion import global_motion
from pipeline.packets import Columns, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import ConfigMismatch, Context, Port, Stage, StageConfig
from pipeline.stages.places import places

_PER_S = 1000.0


class GlobalMotion(StageConfig):
    """One row for each window of the field in which enough tiles answered; t is the end of the window.

    (vx, vy) is the movement at the middle of the view; above 0, zoom means that the view grows, and rotation that
    it turns clockwise (y grows downwards). Confidence is the share of motion that it explains times the mean
    confidence of the tiles. The equations: :mod:`kernels.motion.global_motion`.
    """

    accepts: ClassVar[Kind] = "field"
    sends: ClassVar[dict[str, Kind]] = {"": "motion"}

    kind: Literal["global_motion"] = "global_motion"
    tile: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="side of the field's tiles, pixels; the field itself tells it",
    )
    min_tiles: int = Field(default=6, ge=3, description="windows with fewer tiles stay silent")
    min_spread: float = Field(
        default=0.12, ge=0, le=0.3,
        description="windows whose tiles lie closer to a line than this stay silent: their deviation from it, over "
        "the smaller side of the view; 0.29 where tiles are everywhere",
    )  # fmt: skip
    min_confidence: float = Field(
        default=0.0, ge=0, le=1, description="tiles less sure than this do not count"
    )

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        if self.tile not in {None, context.upstream.tile}:
            raise ConfigMismatch(
                "tile", f"{self.tile}, and the field's tiles are {context.upstream.tile}: leave it out"
            )
        return _GlobalMotionStage(self, context)


class _GlobalMotionStage(Stage):
    def __init__(self, config: GlobalMotion, context: Context) -> None:
        field = context.upstream
        side = max(field.width, field.height)
        super().__init__(main=Port("motion", field.width, field.height, tile=side, window_us=field.window_us))
        self._config, self._field = config, field

    def work(self, packet: Packet) -> list[Packet]:
        c, config = packet.columns, self._config
        sure = np.flatnonzero(c["confidence"] >= config.min_confidence)
        windows, starts = np.unique(c["t"][sure], return_index=True)
        rows: list[tuple[float, ...]] = []
        for t, part in zip(windows, np.split(sure, starts[1:]), strict=False):
            tiles = {name: column[part] for name, column in c.items()}
            x, y = places(tiles, self._field)
            deviation = global_motion.spread(*(tiles[name].astype(np.float64) for name in "xy"))
            wide = deviation >= config.min_spread * min(self._field.width, self._field.height)
            if len(part) >= config.min_tiles and wide:
                rows.append((int(t), *_of_tiles(tiles, x, y), int(np.bitwise_or.reduce(tiles["flags"]))))
        return [Packet("motion", _columns(rows), packet.watermark_us)]


def _of_tiles(tiles: Columns, x: F64, y: F64) -> tuple[float, ...]:
    """(vx, vy, zoom, rotation, confidence, growth)."""
    vx, vy, weight = (tiles[name].astype(np.float64) for name in ("vx", "vy", "confidence"))
    found, explained = global_motion.fit(x, y, vx, vy, weight)
    explained *= float(
        weight.mean()
    )  # tiles that agree and know nothing, as under a lamp that flickers, know nothing
    growth = global_motion.growth(found, x, y, weight)
    return (
        float(found[0]),
        float(found[1]),
        float(found[2]) * _PER_S,
        float(found[3]) * _PER_S,
        explained,
        growth,
    )


def _columns(rows: list[tuple[float, ...]]) -> Columns:
    table = list(zip(*rows, strict=True)) if rows else [()] * 8
    names = ("vx", "vy", "zoom", "rotation", "confidence")
    return {
        "t": np.array(table[0], np.int64),
        **{name: np.array(table[i + 1], np.float32) for i, name in enumerate(names)},
        "growth": np.array(table[6], np.float64),
        "flags": np.array(table[7], np.uint32),
    }
