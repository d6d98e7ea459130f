"""A bank of motifs: integer weights, labels, and the card that says where they come from.

A bundle is a folder of ``model.json`` and ``weights.safetensors``; nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError

from kernels import motifs
from pipeline.errors import UserError

ZOO = Path(__file__).parent / "zoo"
Weights = NDArray[np.float32]


class ModelError(UserError):
    """A model that is missing, malformed or does not fit."""


class MotifLabel(BaseModel):
    """What one motif of a bank stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    direction_deg: float | None = Field(default=None, description="0 = right, 90 = down")
    speed_px_per_ms: float | None = Field(default=None, gt=0)


class BankCard(BaseModel):
    """``model.json`` of a motif bank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["motif_bank"] = "motif_bank"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    version: str
    bin_us: int = Field(gt=0)
    scale: float = Field(gt=0, description="logit = scale * (bias + sum of weights)")
    competition: Literal["softmax", "sigmoid"] = Field(
        default="softmax", description="the classes compete, or each is a detector of its own"
    )
    contrast_flip: bool = False
    labels: tuple[MotifLabel, ...]
    provenance: dict[str, Any] = Field(default_factory=dict)
    accuracy: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""


@dataclass(frozen=True, eq=False)
class MotifBank:
    """A bank as the motif stage uses it; read-only and shared between streams.

    Attributes:
        card: what ``model.json`` says.
        weight: [class, polarity (0 OFF, 1 ON), delay (0 = now), dy, dx] integers as float32.
        bias: [class] integers as float32.
        digest: SHA-256 over the card and the weights.
    """

    card: BankCard
    weight: Weights
    bias: Weights
    digest: str

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MotifBank) and other.digest == self.digest

    def taps(self, keep: float = 1.0, delays: int | None = None) -> motifs.Taps:
        """The bank laid out for the kernel.

        Args:
            keep: only the largest fraction of the weights.
            delays: only so many of the shortest delays.
        """
        weight = np.ascontiguousarray(self.weight[:, :, :delays])
        return motifs.taps(prune(weight, keep), self.bias, self.card.contrast_flip)


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
    """Write a bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(card.model_dump_json(indent=2) + "\n")
    # In C order whatever the strides: the format writes memory as it lies.
    tensors = {
        "weight": np.ascontiguousarray(weight, np.int16),
        "bias": np.ascontiguousarray(bias, np.float32),
    }
    (folder / "weights.safetensors").write_bytes(safetensors.numpy.save(tensors))


def zoo() -> list[str]:
    """Names of the banks that come with Polychrony."""
    return sorted(path.parent.name for path in ZOO.glob("*/model.json"))


@lru_cache(maxsize=32)
def load(name: str) -> MotifBank:
    """The bank of the zoo that has this name.

    Raises:
        ModelError: there is none, or its bundle is broken.
    """
    if name not in zoo():
        raise ModelError(f"no motif bank is named {name!r}: allowed are {', '.join(zoo())}")
    return read(ZOO / name)


def read(folder: Path) -> MotifBank:
    """Read and check a bundle.

    Raises:
        ModelError: it is missing or broken.
    """
    try:
        text = (folder / "model.json").read_bytes()
        raw = (folder / "weights.safetensors").read_bytes()
        card = BankCard.model_validate(json.loads(text))
        tensors = safetensors.numpy.load(raw)
        weight = np.asarray(tensors["weight"], np.float32)
        bias = np.asarray(tensors["bias"], np.float32)
    except (OSError, KeyError, ValueError, SafetensorError) as problem:
        raise ModelError(f"motif bank at {folder.name}: {str(problem).splitlines()[0]}") from problem
    if weight.ndim != 5 or weight.shape[:2] != (len(card.labels), 2) or bias.shape != (len(card.labels),):
        raise ModelError(
            f"motif bank {card.name}: weight {weight.shape} does not fit {len(card.labels)} labels"
        )
    return MotifBank(card, weight, bias, hashlib.sha256(text + raw).hexdigest())
