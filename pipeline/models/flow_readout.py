"""A readout of motion: what turns a bank's evidence at several bin widths into velocities, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kernels.columns import F64, I64
from kernels.motion import flow
from pipeline.models import bundle
from pipeline.models.bundle import Card, MotifLabel, Tensors

_MOST_DIRECTIONS = 256
_UNIT = 256
"""Weights are integers, this many to one."""


class FlowCard(Card):
    """What ``model.json`` says of a readout."""

    kind: Literal["flow_readout"] = "flow_readout"  # pyright: ignore[reportIncompatibleVariableOverride]
    bank: str = Field(description="name of the motif bank whose evidence it reads")
    bank_digest: str = Field(pattern="^[0-9a-f]{64}$", description="of that bank")
    bins_us: tuple[int, ...] = Field(min_length=1, max_length=16, description="bin widths, longest first")
    tile: int = Field(default=16, ge=4, le=256, description="side of a tile, pixels")
    window_us: int = Field(default=20_000, ge=1000, le=1_000_000, description="time that one field covers")
    lowest_log2: float = Field(
        description="log2 of the slowest speed's cell, px/ms; a third of an octave a cell"
    )
    confidence: tuple[tuple[float, float], ...] = Field(
        min_length=2, max_length=256,
        description="(-log10 of the posterior's mass away from its peak, share of such rows within 15 degrees and "
        "20 % of speed), rising",
    )  # fmt: skip

    @model_validator(mode="after")
    def _rises(self) -> FlowCard:
        for column in zip(*self.confidence, strict=True):
            if any(b < a for a, b in pairwise(column)) or not min(column) >= 0:
                raise ValueError("confidence: both columns begin at 0 or above and never fall")
        if self.confidence[-1][1] > 1:
            raise ValueError("confidence: shares are at most 1")
        if list(self.bins_us) != sorted(set(self.bins_us), reverse=True) or self.bins_us[-1] < 1:
            raise ValueError("bins_us: the longest first, each once")
        return self


@dataclass(frozen=True, eq=False)
class FlowReadout:
    """A readout as the stage uses it; read-only and shared between streams.

    Attributes:
        card: what ``model.json`` says.
        weight: W [q, f, o] integers, 256 to one.
        has: B [s, o] likewise.
        bias: B0 [o] likewise.
        angle: [class], place of each class of the bank on the grid of directions.
        speed: [class], which of the bank's speeds it has.
        digest: SHA-256 over the card and the weights.
    """

    card: FlowCard
    weight: NDArray[np.int16]
    has: NDArray[np.int16]
    bias: NDArray[np.int16]
    angle: I64
    speed: I64
    digest: str

    @classmethod
    def of(cls, document: dict[str, Any], tensors: Tensors, digest: str) -> FlowReadout:
        """A readout from what :func:`pipeline.models.bundle.read` gives.

        Raises:
            ValueError: it is none, with what is wrong.
        """
        card = FlowCard.model_validate(document)
        weight, has, bias, angle, speed = (
            tensors[name] for name in ("weight", "has", "bias", "angle", "speed")
        )
        directions, scales = len(card.labels), len(card.bins_us)
        planes = 2 * scales * (int(speed.max(initial=0)) + 1)
        n = bias.shape[0] if bias.ndim == 1 else 0
        if (
            not 1 <= n <= 64
            or weight.ndim != 3
            or weight.shape[1:] != (planes, n)
            or has.shape != (scales, n)
        ):
            raise ValueError(f"weight {weight.shape}, has {has.shape} and bias {bias.shape} do not fit")
        if not 1 <= weight.shape[0] <= directions // 2 + 1:
            raise ValueError(f"weight: {weight.shape[0]} frequencies of {directions} directions")
        if (
            angle.shape != speed.shape
            or angle.ndim != 1
            or min(angle.min(initial=0), speed.min(initial=0)) < 0
        ):
            raise ValueError("angle and speed: one of each a class of the bank")
        if directions % 8 or directions > _MOST_DIRECTIONS:
            raise ValueError(f"labels: {directions} directions; a multiple of 8, at most {_MOST_DIRECTIONS}")
        if planes > flow.MOST_PLANES:
            raise ValueError(f"speed: {planes} planes of scales and speeds, at most {flow.MOST_PLANES}")
        if angle.max(initial=0) >= directions:
            raise ValueError(f"angle: at most {directions - 1}")
        if any(part.dtype != np.int16 for part in (weight, has, bias)):
            raise ValueError("weight, has and bias are int16")
        return cls(card, weight, has, bias, angle.astype(np.int64), speed.astype(np.int64), digest)

    def readout(self, scale: float) -> flow.Readout:
        """As the kernel takes it, for a bank of this scale."""
        weight, has, bias = ((part / _UNIT).astype(np.float32) for part in (self.weight, self.has, self.bias))
        speeds = self.card.lowest_log2 + np.arange(len(bias)) / 3
        return flow.readout(weight, has, bias, self.angle, self.speed, speeds, len(self.card.labels), scale)

    def confidence(self, mass: F64) -> F64:
        """The share of rows with this mass of posterior that are right."""
        given, share = zip(*self.card.confidence, strict=True)
        return np.interp(sureness(mass), given, share)


def sureness(mass: F64) -> F64:
    """-log10(1 - mass), at most 12: where nearly all mass lies near the peak, it is the rest that tells."""
    return -np.log10(np.maximum(1 - mass, 1e-12))


def directions(n: int) -> tuple[MotifLabel, ...]:
    """Labels of a grid of directions."""
    return tuple(MotifLabel(name=f"{360 * i / n:g} degrees", direction_deg=360 * i / n) for i in range(n))


def save(folder: Path, card: FlowCard, parts: Mapping[str, NDArray[Any]], angle: I64, speed: I64) -> None:
    """Write a readout's bundle: ``parts`` are weight, has and bias as floats."""
    tensors: Tensors = {
        **{name: np.rint(parts[name] * _UNIT).astype(np.int16) for name in ("weight", "has", "bias")},
        "angle": angle.astype(np.int16), "speed": speed.astype(np.int16),
    }  # fmt: skip
    bundle.save(folder, card, tensors)
