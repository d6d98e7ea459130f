"""Rows as objects, for whoever wants one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WARM_UP, AFTER_GAP, UNRELIABLE, EARLY, APERTURE = 1, 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class Event:
    """An event: at ``t`` us the pixel grew brighter (``on``) or darker."""

    t: int
    x: int
    y: int
    on: bool


@dataclass(frozen=True, slots=True)
class Detection:
    """A motif was seen at a pixel in the bin that ends at ``t`` us."""

    t: int
    x: int
    y: int
    label: str
    score: float
    flags: int


@dataclass(frozen=True, slots=True)
class FieldVector:
    """How a tile moves, px/ms; (x, y) is its corner."""

    t: int
    x: int
    y: int
    vx: float
    vy: float
    confidence: float
    flags: int


@dataclass(frozen=True, slots=True)
class ViewMotion:
    """How the whole view moves: px/ms, zoom 1/s, rotation rad/s."""

    t: int
    vx: float
    vy: float
    zoom: float
    rotation: float
    confidence: float
    flags: int


@dataclass(frozen=True, slots=True)
class Mover:
    """A thing that moves by itself: its box, px, and its velocity, px/ms; ``id`` stays while it is seen."""

    t: int
    x: int
    y: int
    width: int
    height: int
    vx: float
    vy: float
    confidence: float
    flags: int
    id: int
    tiles: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a classifier says of (from_us, t]."""

    t: int
    from_us: int
    label: str
    confidence: float
    early: bool
    events: int
    steps: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence for each class at a pixel."""

    t: int
    x: int
    y: int
    evidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trigger:
    """An edge on a camera's trigger input."""

    t: int
    channel: int
    rising: bool


def objects_of(kind: str, columns: dict[str, NDArray[Any]], labels: tuple[str, ...]) -> Iterator[Any]:
    """Columns of a kind of rows, one by one."""
    names = [name for name in columns if name != "evidence"]
    plain = zip(*(columns[name].tolist() for name in names), strict=True)
    for i, values in enumerate(plain):
        row: dict[str, Any] = dict(zip(names, values, strict=True))
        if "label" in row:
            row["label"] = labels[row["label"]] if row["label"] < len(labels) else str(row["label"])
        yield _one(kind, row, columns, i)


def _one(kind: str, row: dict[str, Any], columns: dict[str, NDArray[Any]], i: int) -> Any:
    if kind == "events":
        return Event(row["t"], row["x"], row["y"], bool(row["p"]))
    if kind == "decisions":
        early = bool(row["flags"] & EARLY)
        return Decision(
            row["t"], row["from_us"], row["label"], row["confidence"], early, row["events"], row["steps"]
        )
    if kind == "triggers":
        return Trigger(row["t"], row["channel"], bool(row["level"]))
    if kind == "evidence":
        return Evidence(row["t"], row["x"], row["y"], columns["evidence"][i])
    made = {"detections": Detection, "field": FieldVector, "motion": ViewMotion, "movers": Mover}[kind]
    return made(**row)
