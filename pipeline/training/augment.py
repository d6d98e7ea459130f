"""Recordings seen a little otherwise: moved, turned, stretched, thinned."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.packets import Events


class Augment(BaseModel):
    """How much a recording is changed each time that it is learned from; 0 everywhere: not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift_px: float = Field(default=0.0, ge=0, description="moved by up to so much along each axis")
    turn_deg: float = Field(default=0.0, ge=0, le=180, description="turned by up to so much")
    zoom: float = Field(default=0.0, ge=0, lt=1, description="each axis stretched by up to this share")
    shear: float = Field(default=0.0, ge=0, lt=1)
    drop: float = Field(default=0.0, ge=0, lt=1, description="up to this share of the events is left out")
    delay_us: int = Field(default=0, ge=0, description="begins up to so much later in its first step")
    mirror: bool = Field(default=False, description="left and right may change places")


def augmented(events: Events, width: int, height: int, how: Augment, rng: np.random.Generator) -> Events:
    """The events as they would look from a little elsewhere; those that leave the sensor are gone."""
    t, x, y, p = events
    angle = math.radians(rng.uniform(-how.turn_deg, how.turn_deg))
    along, across = 1 + rng.uniform(-how.zoom, how.zoom, 2)
    shear = rng.uniform(-how.shear, how.shear)
    dx, dy = rng.uniform(-how.shift_px, how.shift_px, 2)
    drop, late = rng.uniform(0, how.drop) if how.drop else 0.0, int(rng.integers(0, how.delay_us + 1))
    if how.mirror and rng.random() < 0.5:
        x = (width - 1 - x.astype(np.int64)).astype(np.uint16)
    cx, cy = x - (width - 1) / 2, y - (height - 1) / 2
    u = along * (math.cos(angle) * cx - math.sin(angle) * cy) + shear * cy + (width - 1) / 2 + dx
    v = across * (math.sin(angle) * cx + math.cos(angle) * cy) + (height - 1) / 2 + dy
    column, row = np.rint(u).astype(np.int64), np.rint(v).astype(np.int64)
    kept = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    if drop:
        kept &= rng.random(len(t)) >= drop
    return t[kept] + late, column[kept].astype(np.uint16), row[kept].astype(np.uint16), p[kept]
