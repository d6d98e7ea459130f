"""``motif``: delay-based motif detection at every pixel that held an event, bin by bin."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kernels import motifs
from pipeline.models import motif_bank
from pipeline.models.motif_bank import MotifBank
from pipeline.packets import AFTER_GAP, WARM_UP, Kind, Packet
from pipeline.stage import Arrays, Context, Misfit, Port, Stage, StageConfig


class EvidenceThreshold(BaseModel):
    """The winner's evidence (a logit) must reach this."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    evidence: float = Field(ge=-1e6, le=1e6)


class ProbabilityThreshold(BaseModel):
    """The winner's softmax probability must reach this."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    probability: float = Field(ge=0, le=1)


class Motif(StageConfig):
    """Detections where a motif's delayed events coincide; port ``evidence``: every class's logit.

    A row per (bin, y, x) that held an event and whose winner passes the threshold; t is the end of the
    bin. ``evidence`` has a row for each that held an event. The model: :mod:`kernels.motifs`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "detections", "evidence": "evidence"}

    kind: Literal["motif"] = "motif"
    model: str = Field(description="name of a motif bank")
    threshold: Annotated[
        EvidenceThreshold | ProbabilityThreshold, Field(description="{evidence: x} or {probability: x}")
    ] = EvidenceThreshold(evidence=0.0)
    keep: float = Field(default=1.0, gt=0, le=1, description="fraction of the weights kept, largest first")

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        try:
            bank = motif_bank.load(self.model)
        except motif_bank.ModelError as problem:
            raise Misfit("model", str(problem)) from problem
        size = bank.weight.shape[-1]
        if min(context.upstream.width, context.upstream.height) < size:
            raise Misfit(
                "model",
                f"{self.model} looks at {size}x{size} pixels, more than the sensor's "
                f"{context.upstream.width}x{context.upstream.height}",
            )
        return _MotifStage(self, context, bank)


@lru_cache(maxsize=16)
def _taps(name: str, keep: float) -> motifs.Taps:
    """Streams share what a bank looks like to the kernel."""
    return motif_bank.load(name).taps(keep)


class _MotifStage(Stage):
    def __init__(self, config: Motif, context: Context, bank: MotifBank) -> None:
        grid = (context.upstream.width, context.upstream.height, bank.card.labels)
        super().__init__(main=Port("detections", *grid), evidence=Port("evidence", *grid))
        self._threshold = config.threshold
        self._wanted = context.wanted
        self._scale = bank.card.scale
        self._bin_us = bank.card.bin_us
        self._taps = _taps(config.model, config.keep)
        self._history = motifs.new_history(context.upstream.width, context.upstream.height, self._taps.radius)
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
        motifs.forget(self._history)
        self._after_gap = True

    def snapshot(self) -> Arrays:
        h = self._history
        return {
            "bits": h.bits.copy(), "stamp": h.stamp.copy(), "occupied": h.occupied.copy(),
            "rows": h.rows.copy(), "bins": h.bins.copy(),
            "state": np.array([self._after_gap, self._watermark_us], np.int64),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        h = self._history
        for name, own in (("bits", h.bits), ("stamp", h.stamp), ("occupied", h.occupied),
                          ("rows", h.rows), ("bins", h.bins)):  # fmt: skip
            own[:] = arrays[name]
        self._after_gap, self._watermark_us = bool(arrays["state"][0]), int(arrays["state"][1])

    def _close(self, packet: Packet, until_bin: int) -> list[Packet]:
        c = packet.columns
        by_probability = isinstance(self._threshold, ProbabilityThreshold)
        found = motifs.advance(
            c["t"], c["x"], c["y"], c["p"], self._history, self._taps, self._bin_us, until_bin,
            with_evidence="evidence" in self._wanted or ("" in self._wanted and by_probability),
        )  # fmt: skip
        t, flags = (found.bin + 1) * self._bin_us, self._flags_of(found)
        out: list[Packet] = []
        if "" in self._wanted:
            columns = {
                "t": t, "x": found.x, "y": found.y, "label": found.label,
                "flags": flags, "score": found.total * np.float32(self._scale),
            }  # fmt: skip
            out.append(Packet("detections", columns, self._watermark_us).keep(self._passes(found)))
        if "evidence" in self._wanted:
            columns = {
                "t": t, "x": found.x, "y": found.y,
                "evidence": found.evidence * np.float32(self._scale), "flags": flags,
            }  # fmt: skip
            out.append(Packet("evidence", columns, self._watermark_us, port="evidence"))
        return out

    def _passes(self, found: motifs.Found) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if isinstance(self._threshold, ProbabilityThreshold):
            return motifs.certainty(found.evidence, self._scale) >= self._threshold.probability
        # Compared as integer sums, so that no rounding of the score can decide.
        return found.total >= math.ceil(self._threshold.evidence / self._scale)

    def _flags_of(self, found: motifs.Found) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
        early = found.bin - self._history.bins[motifs.START] < self._taps.delays - 1
        mark = WARM_UP | (AFTER_GAP if self._after_gap else 0)
        return np.where(early, mark, 0).astype(np.uint16)
