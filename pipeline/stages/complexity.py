"""``complexity``: how regular and how busy each region is, by Lempel-Ziv complexity of its spike train."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.networks import complexity
from pipeline import cancellation
from pipeline.models.bundle import MotifLabel
from pipeline.packets import Columns, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig

_LABELS = (MotifLabel(name="complexity"), MotifLabel(name="activity"))


_MOST_BINS = 2**30
"""Bins of all tiles in a second of stream time."""


class Complexity(StageConfig):
    """A row for each tile and window in which it had an event: (complexity, share of the bins that held one).

    A tile's train has a 1 in each bin of ``bin_us`` in which any of its pixels sent an event; t is the end of the
    window, (x, y) the tile's origin. The measure: :mod:`kernels.networks.complexity`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "evidence"}

    kind: Literal["complexity"] = "complexity"
    tile: int = Field(default=16, ge=1, le=4096, description="side of the tiles, pixels")
    bin_us: int = Field(default=1000, ge=1, le=10_000_000, description="width of a bin")
    window_bins: int = Field(default=100, ge=2, le=100_000, description="bins of a window")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        tiles = -(-context.upstream.width // self.tile) * -(-context.upstream.height // self.tile)
        return 2 * tiles * self.window_bins

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        across, down = -(-context.upstream.width // self.tile), -(-context.upstream.height // self.tile)
        if across * down * self.window_bins > 2**28:
            raise ConfigMismatch(
                "window_bins", f"{across * down} tiles of {self.window_bins} bins are more than {2**28}"
            )
        if across * down * 1_000_000 > _MOST_BINS * self.bin_us:
            a_second = across * down * 1_000_000 // self.bin_us
            raise ConfigMismatch(
                "bin_us", f"{a_second:,} bins of all tiles in a second; allowed are {_MOST_BINS:,}"
            )
        return _ComplexityStage(self, context)


class _ComplexityStage(Stage):
    def __init__(self, config: Complexity, context: Context) -> None:
        width, height = context.upstream.width, context.upstream.height
        self._window_us = config.bin_us * config.window_bins
        super().__init__(main=Port("evidence", width, height, _LABELS, config.tile, self._window_us))
        self._config = config
        self._across, self._down = -(-width // config.tile), -(-height // config.tile)
        self._trains = np.zeros((self._across * self._down, config.window_bins), np.uint8)
        self._open = np.array([-1], np.int64)

    def work(self, packet: Packet) -> list[Packet]:
        c, parts = packet.columns, list[Columns]()
        windows = c["t"] // self._window_us
        until = packet.watermark_us // self._window_us
        edges = [0, *(np.flatnonzero(np.diff(windows)) + 1).tolist(), len(windows)] if len(windows) else []
        for start, stop in pairwise(edges):
            cancellation.checkpoint()
            parts += self._turn_to(int(windows[start]))
            t, x, y = (c[name][start:stop] for name in "txy")
            tile = (y.astype(np.int64) // self._config.tile) * self._across
            tile += x.astype(np.int64) // self._config.tile
            self._trains[tile, t % self._window_us // self._config.bin_us] = 1
        parts += self._turn_to(until)
        return [self._packet(parts, (until + 1) * self._window_us)]

    def flush(self) -> list[Packet]:
        parts = self._turn_to(int(self._open[0]) + 1) if self._open[0] >= 0 else []
        return [self._packet(parts, int(self._open[0]) * self._window_us)]

    def reset(self, packet: Packet) -> None:
        self._trains[:] = 0
        self._open[:] = -1

    def snapshot(self) -> Arrays:
        return {"trains": self._trains.copy(), "open": self._open.copy()}

    def restore(self, arrays: Arrays) -> None:
        self._trains[:], self._open[:] = arrays["trains"], arrays["open"]

    def _turn_to(self, window: int) -> list[Columns]:
        """Rows of the window that is open, where another one begins."""
        before = int(self._open[0])
        if window <= before:
            return []
        self._open[0] = window
        busy = np.flatnonzero(self._trains.any(axis=1))
        if before < 0 or len(busy) == 0:
            return []
        trains, found = self._trains[busy], np.empty(len(busy), np.float32)
        complexity.complexity(trains, found)
        self._trains[:] = 0
        share = trains.mean(axis=1, dtype=np.float32)
        return [{
            "t": np.full(len(busy), (before + 1) * self._window_us, np.int64),
            "x": (busy % self._across * self._config.tile).astype(np.uint16),
            "y": (busy // self._across * self._config.tile).astype(np.uint16),
            "evidence": np.stack([found, share], axis=1), "flags": np.zeros(len(busy), np.uint16),
        }]  # fmt: skip

    def _packet(self, parts: list[Columns], watermark_us: int) -> Packet:
        empty = np.empty(0, np.uint16)
        nothing: Columns = {
            "t": np.empty(0, np.int64), "x": empty, "y": empty, "flags": empty,
            "evidence": np.empty((0, 2), np.float32),
        }  # fmt: skip
        columns = {name: np.concatenate([nothing[name], *(part[name] for part in parts)]) for name in nothing}
        return Packet("evidence", columns, watermark_us)
