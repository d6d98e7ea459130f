"""Quadrature pairs of space-time Gabor filters: the classical detector of motion, as a bank of motifs.

Adelson & Bergen, "Spatiotemporal energy models for the perception of motion", JOSA A 1985. For a class of
direction u and speed v, with x' = (dx, dy) . u and a delay d,

    even, odd = cos, sin (2 pi f (x' + v d)) exp(-(dx^2 + dy^2) / (2 s^2)) exp(-(d - m)^2 / (2 r^2)),

ON counts with +, OFF with -. The energy even^2 + odd^2 does not depend on the texture's phase.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.columns import F64
from kernels.motifs import detection
from kernels.motifs.detection import Taps
from pipeline.models.bundle import MotifLabel

_LARGEST = 255.0


def labels(directions: int, speeds: tuple[float, ...]) -> tuple[MotifLabel, ...]:
    """The classes: direction by direction, within one the speeds in their order."""
    return tuple(
        MotifLabel(name=f"{360 * i / directions:g}° {speed:g}", direction_deg=360 * i / directions,
                   speed_px_per_ms=speed)
        for i in range(directions) for speed in speeds
    )  # fmt: skip


def pairs(classes: tuple[MotifLabel, ...], size: int, delays: int, period_px: float) -> Taps:
    """Filters of all classes, even and odd in turn, as integers."""
    half = size // 2
    dy, dx = (axis.astype(np.float64) for axis in np.mgrid[-half : half + 1, -half : half + 1])
    d = np.arange(delays, dtype=np.float64)[:, None, None]
    near = np.exp(-(dx**2 + dy**2) / (2 * (size / 4.5) ** 2))
    soon = np.exp(-((d - delays / 2.5) ** 2) / (2 * (delays / 4) ** 2))
    filters: list[F64] = []
    for label in classes:
        angle = math.radians(label.direction_deg or 0.0)
        along = dx * math.cos(angle) + dy * math.sin(angle) + (label.speed_px_per_ms or 0.0) * d
        for wave in (np.cos, np.sin):
            filters.append(_without_mean(wave(2 * math.pi / period_px * along) * near * soon))
    whole = np.rint(np.array(filters) * _LARGEST)
    weight = np.stack([-whole, whole], axis=1).astype(np.float32)
    return detection.taps(weight, np.zeros(len(weight), np.float32), False)


def _without_mean(one: F64) -> F64:
    """Blind to what is the same everywhere, and of the same length as all others."""
    one = one - one.mean()
    return one / np.linalg.norm(one) * math.sqrt(one.size) / 3
