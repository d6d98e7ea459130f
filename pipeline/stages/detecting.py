"""What every detector of motifs shares: places and thresholds, and how sums become detections."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels.motifs import posterior, targets
from kernels.motifs.detection import Found
from pipeline.models.motif_bank import BankCard
from pipeline.packets import Columns

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


Threshold = Annotated[
    EvidenceThreshold | ProbabilityThreshold | RateThreshold,
    Field(description="{evidence: x}, {probability: x} or {rate_hz: x}"),
]


def motif_bytes(width: int, height: int) -> int:
    """What a detector remembers of each pixel and, for a row of the largest kernels, of its taps."""
    return 38 * (width + 32) * (height + 32) + 31 * 2 * 64 * 4 * (width + 32)


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


At = Annotated[
    AtEvents | OnGrid | AtRandom,
    Field(description="{every: n} events, {grid: step} pixels or {random: share}"),
]


class Decider:
    """Turns sums into detections: a row a voxel whose winner passes, or a row a class that passes by itself.

    Attributes:
        level: the state of a steered threshold; see :func:`kernels.motifs.posterior.steered`.
    """

    def __init__(self, card: BankCard, threshold: Threshold) -> None:
        self._card, self._threshold = card, threshold
        self.level = posterior.new_level(0.0)

    @property
    def needs_evidence(self) -> bool:
        """Whether it asks for all classes' sums, not only the winner's."""
        return self._card.competition == "sigmoid" or isinstance(self._threshold, ProbabilityThreshold)

    def forget(self) -> None:
        """Start anew, as after a gap."""
        self.level = posterior.new_level(0.0)

    def detections(self, found: Found, flags: NDArray[np.uint16]) -> Columns:
        """The columns of the detections among what was found."""
        scale = self._card.scale
        if self._card.competition == "softmax":
            kept = self._passes(found.bin, found.total, lambda: posterior.certainty(found.evidence, scale))
            return self._columns(found, flags, np.flatnonzero(kept), found.label[kept], found.total[kept])
        row, label = np.nonzero(found.evidence >= self._least())
        total = found.evidence[row, label]
        kept = self._passes(found.bin[row], total, lambda: _logistic(total * scale))
        return self._columns(found, flags, row[kept], label[kept].astype(np.uint16), total[kept])

    def _columns(
        self, found: Found, flags: NDArray[np.uint16], row: NDArray[np.int64], label: NDArray[np.uint16],
        total: NDArray[np.float32],
    ) -> Columns:  # fmt: skip
        return {
            "t": (found.bin[row] + 1) * self._card.bin_us, "x": found.x[row], "y": found.y[row],
            "label": label, "flags": flags[row], "score": total * np.float32(self._card.scale),
        }  # fmt: skip

    def _least(self) -> float:
        """A sum that whatever passes has."""
        if isinstance(self._threshold, EvidenceThreshold):
            return self._integer(self._threshold.evidence)
        if isinstance(self._threshold, RateThreshold):
            return -math.inf  # the number of rows steers it
        p = self._threshold.probability
        return (
            -math.inf
            if p <= 0
            else (math.log(p) - math.log1p(-p)) / self._card.scale - 1
            if p < 1
            else math.inf
        )

    def _integer(self, evidence: float) -> int:
        """Compared as integer sums, so that no rounding of a score can decide."""
        return math.ceil(evidence / self._card.scale)

    def _passes(
        self, bins: NDArray[np.int64], total: NDArray[np.float32],
        probability: Callable[[], NDArray[np.float64]],
    ) -> NDArray[np.bool_]:  # fmt: skip
        threshold = self._threshold
        if isinstance(threshold, ProbabilityThreshold):
            return probability() >= threshold.probability
        if isinstance(threshold, RateThreshold):
            a_bin = threshold.rate_hz * self._card.bin_us * 1e-6
            return posterior.steered(bins, total, a_bin, _STEERED_BY / self._card.scale, self.level)
        return total >= self._integer(threshold.evidence)


def _logistic(logit: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit.astype(np.float64)))
