"""``gain``: evidence that means the same at any contrast and any rate of events."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.motifs import gain
from pipeline.packets import Columns, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, Context, Port, Stage, StageConfig


class Gain(StageConfig):
    """The same rows, with the winners' evidence of each tile brought to one mean and one spread.

    Where there is little contrast evidence is low, and one threshold lets little pass. Each tile's mean and spread
    are followed with the time constant ``tau_us`` and taken out, so that ``threshold`` lets about the same share pass
    everywhere; classes keep their order. The equations: :mod:`kernels.motifs.gain`.
    """

    accepts: ClassVar[Kind] = "evidence"
    sends: ClassVar[dict[str, Kind]] = {"": "evidence", "detections": "detections"}

    kind: Literal["gain"] = "gain"
    tile: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="side of a tile with a gain of its own, pixels; default: all as one",
    )
    tau_us: int = Field(default=500_000, ge=1000, le=3_600_000_000, description="time constant, us")
    mean: float = Field(
        default=4.6, ge=-1e6, le=1e6,
        description="what winners' evidence is brought to; default: that of motif36 on images of middle contrast",
    )  # fmt: skip
    spread: float = Field(default=3.2, gt=0, le=1e6, description="likewise, its standard deviation")
    least: int = Field(default=20, ge=1, le=1_000_000, description="rows of a tile before its gain moves")
    threshold: float = Field(
        default=6.5, ge=-1e6, le=1e6, description="evidence on the new scale that a detection must reach"
    )

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        grid = context.upstream
        side = self.tile or max(grid.width, grid.height)
        return 56 * -(-grid.width // side) * -(-grid.height // side)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _GainStage(self, context)


class _GainStage(Stage):
    def __init__(self, config: Gain, context: Context) -> None:
        grid, side = context.upstream, config.tile or max(context.upstream.width, context.upstream.height)
        ports = (grid.width, grid.height, grid.labels, grid.tile, grid.window_us)
        super().__init__(main=Port("evidence", *ports), detections=Port("detections", *ports))
        self._config, self._wanted, self._side = config, context.wanted, side
        self._across = -(-grid.width // side)
        self._tiles = self._across * -(-grid.height // side)
        self._levels = gain.new_levels(self._tiles, config.mean, config.spread)

    def work(self, packet: Packet) -> list[Packet]:
        c, config = packet.columns, self._config
        tile = c["y"].astype(np.int64) // self._side * self._across + c["x"].astype(np.int64) // self._side
        evidence = gain.advance(
            c["t"], tile, np.ascontiguousarray(c["evidence"]), self._levels, config.mean, config.spread,
            config.tau_us, config.least,
        )  # fmt: skip
        out: list[Packet] = []
        if "" in self._wanted:
            out.append(Packet("evidence", {**c, "evidence": evidence}, packet.watermark_us))
        if "detections" in self._wanted:
            found = _detections(c, evidence, config.threshold)
            out.append(Packet("detections", found, packet.watermark_us, port="detections"))
        return out

    def reset(self, packet: Packet) -> None:
        self._levels = gain.new_levels(self._tiles, self._config.mean, self._config.spread)

    def snapshot(self) -> Arrays:
        return {name: array.copy() for name, array in self._levels._asdict().items()}

    def restore(self, arrays: Arrays) -> None:
        for name, array in self._levels._asdict().items():
            array[:] = arrays[name]


def _detections(
    c: Columns, evidence: np.ndarray[tuple[int, ...], np.dtype[np.float32]], threshold: float
) -> Columns:
    label = evidence.argmax(axis=1)
    score = np.take_along_axis(evidence, label[:, None], axis=1)[:, 0]
    kept = score >= threshold
    return {
        "t": c["t"][kept], "x": c["x"][kept], "y": c["y"][kept], "label": label[kept].astype(np.uint16),
        "flags": c["flags"][kept], "score": score[kept],
    }  # fmt: skip
