"""Bundles: a folder of ``model.json`` and ``weights.safetensors``; nothing in one can run code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from pipeline.errors import UserError, in_words

CARD, WEIGHTS = "model.json", "weights.safetensors"
MAX_CARD_BYTES, MAX_WEIGHT_BYTES = 2**20, 2**28
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"

Tensors = dict[str, NDArray[Any]]


class ModelError(UserError):
    """A model that is missing, malformed or does not fit."""


class MotifLabel(BaseModel):
    """What one motif of a bank stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    direction_deg: float | None = Field(default=None, description="0 = right, 90 = down")
    speed_px_per_ms: float | None = Field(default=None, gt=0)


class Card(BaseModel):
    """What every ``model.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="what it is a bundle of")
    name: str = Field(pattern=NAME)
    version: str
    labels: tuple[MotifLabel, ...] = Field(min_length=1, max_length=4096)
    provenance: dict[str, Any] = Field(default_factory=dict)
    accuracy: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""


def save(folder: Path, card: Card, tensors: Tensors) -> None:
    """Write a bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n")
    # In C order whatever the strides: the format writes memory as it lies.
    laid = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    (folder / WEIGHTS).write_bytes(safetensors.numpy.save(laid))


def read(folder: Path) -> tuple[dict[str, Any], Tensors, str]:
    """(what model.json says, tensors, SHA-256 over both files).

    Raises:
        ModelError: it is missing, too large or broken.
    """
    try:
        text, raw = (_limited(folder / name, most) for name, most in
                     ((CARD, MAX_CARD_BYTES), (WEIGHTS, MAX_WEIGHT_BYTES)))  # fmt: skip
        document = json.loads(text)
        tensors = safetensors.numpy.load(raw)
    except (OSError, ValueError, RecursionError, SafetensorError) as problem:
        raise ModelError(f"model at {folder.name}: {str(problem).splitlines()[0]}") from problem
    if not isinstance(document, dict):
        raise ModelError(f"model at {folder.name}: model.json is no object")
    return document, tensors, hashlib.sha256(text + raw).hexdigest()


def _limited(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path.name} is larger than {most} bytes")
    return data


def line_of(problem: Exception) -> str:
    """What went wrong with a file of another framework, on one line."""
    if isinstance(problem, ValidationError):
        return in_words(problem.errors()[0])
    return (str(problem).splitlines() or [type(problem).__name__])[0][:160]
