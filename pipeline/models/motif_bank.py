"""A bank of motifs: integer weights, labels, and the card that says where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kernels.motifs import detection
from pipeline.models import bundle
from pipeline.models.bundle import Card, ModelError, MotifLabel, Tensors

__all__ = ["BankCard", "ModelError", "MotifBank", "MotifCard", "MotifLabel", "prune", "quantise", "save"]

Weights = NDArray[np.float32]


class BankCard(Card):
    """What ``model.json`` says of any bank."""

    bin_us: int = Field(gt=0)
    scale: float = Field(gt=0, description="logit = scale * (bias + sum of weights)")
    competition: Literal["softmax", "sigmoid"] = Field(
        default="softmax", description="the classes compete, or each is a detector of its own"
    )


class MotifCard(BankCard):
    """``model.json`` of a bank on the pixel grid."""

    kind: Literal["motif_bank"] = "motif_bank"  # pyright: ignore[reportIncompatibleVariableOverride]
    contrast_flip: bool = False


@dataclass(frozen=True, eq=False)
class MotifBank:
    """A bank as the motif stage uses it; read-only and shared between streams.

    Attributes:
        card: what ``model.json`` says.
        weight: [class, polarity (0 OFF, 1 ON), delay (0 = now), dy, dx] integers as float32.
        bias: [class] integers as float32.
        digest: SHA-256 over the card and the weights.
    """

    card: MotifCard
    weight: Weights
    bias: Weights
    digest: str

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MotifBank) and other.digest == self.digest

    def taps(self, keep: float = 1.0, delays: int | None = None) -> detection.Taps:
        """The bank laid out for the kernel.

        Args:
            keep: only the largest fraction of the weights.
            delays: only so many of the shortest delays.
        """
        weight = np.ascontiguousarray(self.weight[:, :, :delays])
        return detection.taps(prune(weight, keep), self.bias, self.card.contrast_flip)

    @classmethod
    def of(cls, document: dict[str, Any], tensors: Tensors, digest: str) -> MotifBank:
        """A bank from what :func:`pipeline.models.bundle.read` gives.

        Raises:
            ValueError: it is none, with what is wrong.
        """
        card = MotifCard.model_validate(document)
        weight, bias = (np.asarray(tensors[name], np.float32) for name in ("weight", "bias"))
        n = len(card.labels)
        if weight.ndim != 5 or weight.shape[:2] != (n, 2) or bias.shape != (n,):
            raise ValueError(f"weight {weight.shape} and bias {bias.shape} do not fit {n} labels")
        detection.taps(weight, bias, card.contrast_flip)
        return cls(card, weight, bias, digest)


def prune(weight: Weights, keep: float) -> Weights:
    """The weights with all but the ``keep`` fraction of largest magnitude set to zero.

    Weights as large as the smallest one kept stay too, so the answer does not depend on a sort's ties.
    """
    if keep >= 1:
        return weight
    magnitude = np.abs(weight)
    kept = max(1, round(keep * weight.size))
    smallest = np.partition(magnitude.ravel(), -kept)[-kept]
    return np.where(magnitude >= max(smallest, 1), weight, np.float32(0)).astype(np.float32)


def quantise(weight: NDArray[Any], bias: NDArray[Any], largest: int = 1023) -> tuple[Weights, Weights, float]:
    """Integers (weight, bias, scale) nearest to trained floats, the largest weight at ``largest``."""
    scale = float(np.abs(weight).max()) / largest
    return (
        np.rint(weight / scale).astype(np.float32),
        np.rint(bias / scale).astype(np.float32),
        scale,
    )


def save(folder: Path, card: BankCard, weight: Weights, bias: Weights) -> None:
    """Write a bank's bundle."""
    tensors: Tensors = {"weight": np.asarray(weight, np.int16), "bias": np.asarray(bias, np.float32)}
    bundle.save(folder, card, tensors)
