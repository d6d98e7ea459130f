"""``global_motion``: pan, tilt, zoom and rotation of the whole view, from a motion field."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels import global_motion
from pipeline.packets import Columns, Kind, Packet
from pipeline.stage import Context, Port, Stage, StageConfig

_PER_S = 1000.0


class GlobalMotion(StageConfig):
    """One row for each window of the field in which enough tiles answered; t is the end of the window.

    (vx, vy) is the movement at the middle of the view; above 0, zoom means that the view grows, and rotation that
    it turns clockwise (y grows downwards). The equations: :mod:`kernels.global_motion`.
    """

    accepts: ClassVar[Kind] = "field"
    sends: ClassVar[dict[str, Kind]] = {"": "motion"}

    kind: Literal["global_motion"] = "global_motion"
    tile: int = Field(default=16, ge=1, le=4096, description="side of the field's tiles, pixels")
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
        return _GlobalMotionStage(self, context)


class _GlobalMotionStage(Stage):
    def __init__(self, config: GlobalMotion, context: Context) -> None:
        self._grid = (context.upstream.width, context.upstream.height)
        super().__init__(main=Port("motion", *self._grid))
        self._config = config

    def work(self, packet: Packet) -> list[Packet]:
        c = packet.columns
        sure = c["confidence"] >= self._config.min_confidence
        windows, starts = np.unique(c["t"], return_index=True)
        rows: list[tuple[float, ...]] = []
        for t, part in zip(windows, np.split(np.arange(len(c["t"])), starts[1:]), strict=False):
            tiles = part[sure[part]]
            if len(tiles) >= self._config.min_tiles and self._spread(c, tiles) >= self._config.min_spread:
                rows.append((int(t), *self._of_tiles(c, tiles), int(np.bitwise_or.reduce(c["flags"][tiles]))))
        return [Packet("motion", _columns(rows), packet.watermark_us)]

    def _spread(self, c: Columns, tiles: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        """Deviation of the tiles from the line that fits them best, over the smaller side of the view."""
        places = np.stack([c["x"][tiles], c["y"][tiles]]).astype(np.float64)
        return math.sqrt(max(float(np.linalg.eigvalsh(np.cov(places))[0]), 0.0)) / min(self._grid)

    def _of_tiles(self, c: Columns, tiles: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[float, ...]:
        """(vx, vy, zoom, rotation, confidence)."""
        middle = (self._config.tile - 1) / 2
        x, y = (
            c[name][tiles].astype(np.float64) + middle - (side - 1) / 2
            for name, side in zip("xy", self._grid, strict=True)
        )
        vx, vy, weight = (c[name][tiles].astype(np.float64) for name in ("vx", "vy", "confidence"))
        found, explained = global_motion.fit(x, y, vx, vy, weight)
        return float(found[0]), float(found[1]), float(found[2]) * _PER_S, float(found[3]) * _PER_S, explained


def _columns(rows: list[tuple[float, ...]]) -> Columns:
    table = list(zip(*rows, strict=True)) if rows else [()] * 7
    names = ("vx", "vy", "zoom", "rotation", "confidence")
    return {
        "t": np.array(table[0], np.int64),
        **{name: np.array(table[i + 1], np.float32) for i, name in enumerate(names)},
        "flags": np.array(table[6], np.uint32),
    }
