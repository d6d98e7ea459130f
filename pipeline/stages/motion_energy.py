"""``motion_energy``: the classical motion detector, to compare motif detection with."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.motifs import detection, history, targets
from pipeline.models import energy_bank
from pipeline.packets import AFTER_GAP, WARM_UP, Packet, no_events
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig
from pipeline.stages.detecting import At, AtEvents, motif_bytes

_BIN_US = 1000


class MotionEnergy(StageConfig):
    """Evidence per class: the logarithm of the energy of its quadrature pair, even^2 + odd^2 + ``floor``.

    Its softmax is the energy divided by the energies of all classes together, the normalisation of Heeger's model
    (Visual Neuroscience 1992), so ``motion_field`` reads it as it reads the evidence of a motif bank. The filters:
    :mod:`pipeline.models.energy_bank`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "evidence"}

    kind: Literal["motion_energy"] = "motion_energy"
    directions: int = Field(default=8, ge=2, le=64)
    speeds_px_per_ms: tuple[float, ...] = Field(default=(0.15, 0.45), min_length=1, max_length=16)
    size: int = Field(default=13, ge=3, le=31, description="side of the filters, pixels, odd")
    delays: int = Field(default=21, ge=2, le=64, description="length of the filters, bins of 1 ms")
    period_px: float = Field(default=8.0, ge=2, le=64, description="of the filters' wave")
    floor: float = Field(default=50.0, gt=0, description="energy below which nothing is told")
    at: At = AtEvents(every=1)

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        return motif_bytes(context.upstream.width, context.upstream.height)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        if self.size % 2 == 0:
            raise ConfigMismatch("size", "a filter has a centre, so its side is odd")
        if any(speed <= 0 for speed in self.speeds_px_per_ms):
            raise ConfigMismatch("speeds_px_per_ms", "speeds are above 0")
        if min(context.upstream.width, context.upstream.height) < self.size:
            raise ConfigMismatch(
                "size", f"more than the sensor's {context.upstream.width}x{context.upstream.height}"
            )
        return _MotionEnergyStage(self, context)


@lru_cache(maxsize=8)
def _filters(
    directions: int, speeds: tuple[float, ...], size: int, delays: int, period_px: float
) -> detection.Taps:
    """Streams share them."""
    return energy_bank.pairs(energy_bank.labels(directions, speeds), size, delays, period_px)


class _MotionEnergyStage(Stage):
    has_stride = True

    def __init__(self, config: MotionEnergy, context: Context) -> None:
        width, height = context.upstream.width, context.upstream.height
        labels = energy_bank.labels(config.directions, config.speeds_px_per_ms)
        super().__init__(main=Port("evidence", width, height, labels, 1, _BIN_US))
        self._filters = _filters(
            config.directions, config.speeds_px_per_ms, config.size, config.delays, config.period_px
        )
        self._floor, self._at = config.floor, config.at
        self._where = self._at.where()
        self._history = history.new_history(width, height, config.size, config.size)
        self._lists = detection.new_lists(width, height, self._filters)
        self._after_gap = False
        self._watermark_us = 0

    def work(self, packet: Packet) -> list[Packet]:
        self._watermark_us = (packet.watermark_us // _BIN_US + 1) * _BIN_US
        return self._close(packet, packet.watermark_us // _BIN_US)

    def flush(self) -> list[Packet]:
        t, x, y, p = no_events()
        return self._close(Packet("events", {"t": t, "x": x, "y": y, "p": p}, 0), 2**60)

    def reset(self, packet: Packet) -> None:
        history.forget(self._history)
        detection.rebuild(self._lists, self._history)
        self._after_gap = True

    def set_stride(self, stride: int) -> None:
        self._where = targets.sparser(self._at.where(), stride)

    def snapshot(self) -> Arrays:
        return {
            **history.saved(self._history),
            "state": np.array([self._after_gap, self._watermark_us], np.int64),
        }

    def restore(self, arrays: Arrays) -> None:
        history.load(self._history, arrays)
        detection.rebuild(self._lists, self._history)
        self._after_gap, self._watermark_us = bool(arrays["state"][0]), int(arrays["state"][1])

    def _close(self, packet: Packet, until_bin: int) -> list[Packet]:
        c = packet.columns
        found = detection.advance(
            c["t"], c["x"], c["y"], c["p"], self._history, self._lists, self._filters, _BIN_US, until_bin, True,
            self._where,
        )  # fmt: skip
        sums = found.evidence.astype(np.float64) / 255.0
        energy = sums[:, 0::2] ** 2 + sums[:, 1::2] ** 2
        early = found.bin - self._history.bins[history.START] < self._filters.delays - 1
        mark = WARM_UP | (AFTER_GAP if self._after_gap else 0)
        columns = {
            "t": (found.bin + 1) * _BIN_US, "x": found.x, "y": found.y,
            "evidence": np.log(energy + self._floor).astype(np.float32),
            "flags": np.where(early, mark, 0).astype(np.uint16),
        }  # fmt: skip
        return [Packet("evidence", columns, self._watermark_us)]
