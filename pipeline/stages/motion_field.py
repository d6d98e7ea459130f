"""``motion_field``: where each tile moves and how surely, from the evidence of a motif bank."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.columns import F32, I64
from kernels.filters import NEVER
from kernels.motion import votes
from pipeline.packets import Columns, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig

_NO_TILES: tuple[I64, I64, F32, F32, F32] = (
    np.empty(0, np.int64), np.empty(0, np.int64),
    np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.float32),
)  # fmt: skip


class MotionField(StageConfig):
    """One row per tile and window that holds enough evidence rows; t is the end of the window.

    Window k takes the evidence with k window_us < t <= (k + 1) window_us. The field is in px/ms of the
    grid that the evidence lies on. The equations: :mod:`kernels.motion.votes`.
    """

    accepts: ClassVar[Kind] = "evidence"
    sends: ClassVar[dict[str, Kind]] = {"": "field"}

    kind: Literal["motion_field"] = "motion_field"
    tile: int = Field(default=16, ge=1, le=4096, description="side of a tile, pixels")
    window_us: int = Field(default=10_000, ge=1, le=10_000_000, description="time that one field covers, us")
    min_rows: int = Field(default=8, ge=1, description="tiles with less evidence stay silent")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        grid = context.upstream
        tiles = -(-grid.height // self.tile) * -(-grid.width // self.tile)
        return tiles * (8 * len(grid.labels) + 36)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        labels = context.upstream.labels
        if any(label.direction_deg is None or label.speed_px_per_ms is None for label in labels):
            raise ConfigMismatch(
                "input", "a motion field needs a motif bank whose labels have direction and speed"
            )
        return _MotionFieldStage(self, context)


class _MotionFieldStage(Stage):
    def __init__(self, config: MotionField, context: Context) -> None:
        grid = context.upstream
        port = Port("field", grid.width, grid.height, tile=config.tile, window_us=config.window_us)
        super().__init__(main=port)
        self._tile, self._window_us, self._min_rows = config.tile, config.window_us, config.min_rows
        self._direction = np.array([math.radians(label.direction_deg or 0) for label in grid.labels])
        self._speed = np.array([label.speed_px_per_ms or 0 for label in grid.labels])
        tiles = (-(-grid.height // config.tile), -(-grid.width // config.tile))
        self._logits = np.zeros((*tiles, len(grid.labels)))
        self._turned = np.zeros((*tiles, 3))
        self._count = np.zeros(tiles, np.int64)
        self._flags = np.zeros(tiles, np.uint32)
        self._window = NEVER
        self._watermark_us = 0

    def work(self, packet: Packet) -> list[Packet]:
        c, closed = packet.columns, list[Columns]()
        self._watermark_us = ((packet.watermark_us - 1) // self._window_us + 1) * self._window_us
        window = (c["t"] - 1) // self._window_us
        edges = [0, *(np.flatnonzero(np.diff(window)) + 1).tolist(), len(window)] if len(window) else []
        for start, stop in pairwise(edges):
            closed += self._close_before(int(window[start]))
            self._window = int(window[start])
            self._add({name: column[start:stop] for name, column in c.items()})
        closed += self._close_before((packet.watermark_us - 1) // self._window_us)
        return [self._packet(closed)]

    def flush(self) -> list[Packet]:
        return [self._packet(self._close_before(2**62))]

    def reset(self, packet: Packet) -> None:
        self._empty()

    def snapshot(self) -> Arrays:
        return {
            "logits": self._logits.copy(), "turned": self._turned.copy(), "count": self._count.copy(),
            "flags": self._flags.copy(),
            "state": np.array([self._window, self._watermark_us], np.int64),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        for name, own in (("logits", self._logits), ("turned", self._turned), ("count", self._count),
                          ("flags", self._flags)):  # fmt: skip
            own[:] = arrays[name]
        self._window, self._watermark_us = (int(v) for v in arrays["state"])

    def _add(self, c: Arrays) -> None:
        votes.accumulate(
            c["evidence"], 1.0, c["x"], c["y"], self._tile, self._direction,
            self._logits, self._turned, self._count,
        )  # fmt: skip
        at = (c["y"].astype(np.int64) // self._tile, c["x"].astype(np.int64) // self._tile)
        np.bitwise_or.at(self._flags, at, c["flags"].astype(np.uint32))

    def _close_before(self, window: int) -> list[Columns]:
        if self._window == NEVER or self._window >= window:
            return []
        field = votes.velocity(
            self._logits, self._turned, self._count, self._direction, self._speed, self._min_rows
        )
        rows = self._rows(*field)
        self._empty()
        return [rows]

    def _rows(self, tx: I64, ty: I64, vx: F32, vy: F32, confidence: F32) -> Columns:
        end_us = (self._window + 1) * self._window_us if len(tx) else 0  # no window, no end
        return {
            "t": np.full(len(tx), end_us, np.int64),
            "x": (tx * self._tile).astype(np.uint16), "y": (ty * self._tile).astype(np.uint16),
            "vx": vx.astype(np.float32), "vy": vy.astype(np.float32),
            "confidence": confidence.astype(np.float32), "flags": self._flags[ty, tx],
        }  # fmt: skip

    def _packet(self, closed: list[Columns]) -> Packet:
        parts = closed or [self._rows(*_NO_TILES)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Packet("field", columns, self._watermark_us)

    def _empty(self) -> None:
        self._logits[:], self._turned[:], self._count[:], self._flags[:] = 0, 0, 0, 0
        self._window = NEVER
