"""``motif``: delay-based motif detection, bin by bin, where it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels import history, motifs, posterior, targets
from pipeline.models import motif_bank
from pipeline.models.motif_bank import MotifBank
from pipeline.packets import AFTER_GAP, WARM_UP, Columns, Kind, Packet
from pipeline.stage import Arrays, Context, Misfit, Port, Stage, StageConfig

_STEERED_BY = 0.05
"""Logits by which a steered threshold moves when a bin has twice the rows that it should."""


class _Option(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvidenceThreshold(_Option):
    """The winner's evidence (a logit) must reach this."""

    evidence: float = Field(ge=-1e6, le=1e6)


class ProbabilityThreshold(_Option):
    """The winner's probability (softmax over the classes, or its own sigmoid) must reach this."""

    probability: float = Field(ge=0, le=1)


class RateThreshold(_Option):
    """The evidence that detections must reach is steered so that there are this many a second of stream time."""

    rate_hz: float = Field(gt=0, le=1e9)


class AtEvents(_Option):
    """At the pixels of every n-th event."""

    every: int = Field(ge=1, le=1_000_000)

    def where(self) -> targets.Where:
        """As the kernel takes it."""
        return targets.at_events(self.every)


class OnGrid(_Option):
    """Where x and y are divisible by this and an event lies within reach; 1 is everywhere."""

    grid: int = Field(ge=1, le=65536)

    def where(self) -> targets.Where:
        """As the kernel takes it."""
        return targets.on_grid(self.grid)


class AtRandom(_Option):
    """At this share of all voxels within reach of an event, drawn by seed, bin and pixel."""

    random: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def where(self) -> targets.Where:
        """As the kernel takes it."""
        return targets.at_random(self.random, self.seed)


class Motif(StageConfig):
    """Detections where a motif's delayed events coincide; port ``evidence``: every class's logit.

    A row per (bin, y, x) that was evaluated and whose winner passes the threshold; of a bank of independent
    sigmoids, a row for each class that does. t is the end of the bin. ``evidence`` has a row for each voxel
    that was evaluated. The model: :mod:`kernels.motifs`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "detections", "evidence": "evidence"}

    kind: Literal["motif"] = "motif"
    model: str = Field(description="name of a motif bank")
    threshold: Annotated[
        EvidenceThreshold | ProbabilityThreshold | RateThreshold,
        Field(description="{evidence: x}, {probability: x} or {rate_hz: x}"),
    ] = EvidenceThreshold(evidence=0.0)
    at: Annotated[
        AtEvents | OnGrid | AtRandom,
        Field(description="{every: n} events, {grid: step} pixels or {random: share}"),
    ] = AtEvents(every=1)
    keep: float = Field(default=1.0, gt=0, le=1, description="fraction of the weights kept, largest first")
    delays: int | None = Field(default=None, ge=1, le=64, description="only so many of the shortest delays")

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        try:
            bank = motif_bank.load(self.model)
        except motif_bank.ModelError as problem:
            raise Misfit("model", str(problem)) from problem
        height, width = bank.weight.shape[-2:]
        if context.upstream.width < width or context.upstream.height < height:
            raise Misfit(
                "model",
                f"{self.model} looks at {width}x{height} pixels, more than the sensor's "
                f"{context.upstream.width}x{context.upstream.height}",
            )
        return _MotifStage(self, context, bank)


@lru_cache(maxsize=16)
def _taps(name: str, keep: float, delays: int | None) -> motifs.Taps:
    """Streams share what a bank looks like to the kernel."""
    return motif_bank.load(name).taps(keep, delays)


class _MotifStage(Stage):
    def __init__(self, config: Motif, context: Context, bank: MotifBank) -> None:
        width, height = context.upstream.width, context.upstream.height
        grid = (width, height, bank.card.labels)
        super().__init__(main=Port("detections", *grid), evidence=Port("evidence", *grid))
        self._config, self._card, self._wanted = config, bank.card, context.wanted
        self._bin_us, self._scale = bank.card.bin_us, bank.card.scale
        self._taps = _taps(config.model, config.keep, config.delays)
        self._where = config.at.where()
        self._history = history.new_history(width, height, self._taps.width, self._taps.height)
        self._lists = motifs.new_lists(width, height, self._taps)
        self._level = posterior.new_level(0.0)
        self._after_gap = False
        self._watermark_us = 0

    def work(self, packet: Packet) -> list[Packet]:
        bin_us = self._bin_us
        # The rows of the first bin that is still open are the earliest that can come.
        self._watermark_us = (packet.watermark_us // bin_us + 1) * bin_us
        return self._close(packet, packet.watermark_us // bin_us)

    def flush(self) -> list[Packet]:
        none = np.empty(0, np.uint16)
        columns = {"t": np.empty(0, np.int64), "x": none, "y": none, "p": np.empty(0, np.bool_)}
        return self._close(Packet("events", columns, 0), 2**60)

    def reset(self, packet: Packet) -> None:
        history.forget(self._history)
        self._level = posterior.new_level(0.0)
        self._after_gap = True

    def snapshot(self) -> Arrays:
        h = self._history
        return {
            "bits": h.bits.copy(), "stamp": h.stamp.copy(), "recent": h.recent.copy(),
            "targets": h.targets.copy(), "rows": h.rows.copy(), "bins": h.bins.copy(),
            "level": self._level.copy(), "state": np.array([self._after_gap, self._watermark_us], np.int64),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        h = self._history
        for name, own in (("bits", h.bits), ("stamp", h.stamp), ("recent", h.recent), ("targets", h.targets),
                          ("rows", h.rows), ("bins", h.bins), ("level", self._level)):  # fmt: skip
            own[:] = arrays[name]
        self._after_gap, self._watermark_us = bool(arrays["state"][0]), int(arrays["state"][1])

    def _close(self, packet: Packet, until_bin: int) -> list[Packet]:
        c = packet.columns
        found = motifs.advance(
            c["t"], c["x"], c["y"], c["p"], self._history, self._lists, self._taps, self._bin_us, until_bin,
            self._needs_evidence(), self._where,
        )  # fmt: skip
        flags = self._flags_of(found)
        out: list[Packet] = []
        if "" in self._wanted:
            out.append(Packet("detections", self._detections(found, flags), self._watermark_us))
        if "evidence" in self._wanted:
            columns = {
                "t": (found.bin + 1) * self._bin_us, "x": found.x, "y": found.y,
                "evidence": found.evidence * np.float32(self._scale), "flags": flags,
            }  # fmt: skip
            out.append(Packet("evidence", columns, self._watermark_us, port="evidence"))
        return out

    def _needs_evidence(self) -> bool:
        """Whether all classes' sums are asked for, not only the winner's."""
        shares = isinstance(self._config.threshold, ProbabilityThreshold)
        apart = self._card.competition == "sigmoid"
        return "evidence" in self._wanted or ("" in self._wanted and (shares or apart))

    def _detections(self, found: motifs.Found, flags: NDArray[np.uint16]) -> Columns:
        if self._card.competition == "sigmoid":
            row, label = np.divmod(np.arange(found.evidence.size), found.evidence.shape[1])
            total = found.evidence[row, label]
            columns = self._columns(found, flags, row, label.astype(np.uint16), total)
            kept = self._passes(found.bin[row], total, lambda: _logistic(total * self._scale))
        else:
            columns = self._columns(found, flags, slice(None), found.label, found.total)
            kept = self._passes(
                found.bin, found.total, lambda: posterior.certainty(found.evidence, self._scale)
            )
        return columns if kept.all() else {name: column[kept] for name, column in columns.items()}

    def _columns(
        self, found: motifs.Found, flags: NDArray[np.uint16], row: NDArray[np.int64] | slice,
        label: NDArray[np.uint16], total: NDArray[np.float32],
    ) -> Columns:  # fmt: skip
        return {
            "t": (found.bin[row] + 1) * self._bin_us, "x": found.x[row], "y": found.y[row],
            "label": label, "flags": flags[row], "score": total * np.float32(self._scale),
        }  # fmt: skip

    def _passes(
        self, bins: NDArray[np.int64], total: NDArray[np.float32], probability: Callable[[], NDArray[np.float64]]
    ) -> NDArray[np.bool_]:
        threshold = self._config.threshold
        if isinstance(threshold, ProbabilityThreshold):
            return probability() >= threshold.probability
        if isinstance(threshold, RateThreshold):
            a_bin = threshold.rate_hz * self._bin_us * 1e-6
            return posterior.steered(bins, total, a_bin, _STEERED_BY / self._scale, self._level)
        # Compared as integer sums, so that no rounding of the score can decide.
        return total >= math.ceil(threshold.evidence / self._scale)

    def _flags_of(self, found: motifs.Found) -> NDArray[np.uint16]:
        early = found.bin - self._history.bins[history.START] < self._taps.delays - 1
        mark = WARM_UP | (AFTER_GAP if self._after_gap else 0)
        return np.where(early, mark, 0).astype(np.uint16)


def _logistic(logit: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit.astype(np.float64)))
