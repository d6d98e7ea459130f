"""How a picture moves: where each pixel of the sensor looks at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kernels.columns import F64


class Motion(Protocol):
    """A movement of the picture's plane."""

    def matrix(self, at_ms: float) -> F64:
        """From sensor coordinates (x, y) to the picture's, [2, 3]; the identity at 0."""
        ...


@dataclass(frozen=True)
class Sliding:
    """A constant velocity, px/ms."""

    vx: float
    vy: float

    def matrix(self, at_ms: float) -> F64:
        """See :class:`Motion`."""
        return np.array([[1.0, 0.0, -self.vx * at_ms], [0.0, 1.0, -self.vy * at_ms]])


@dataclass(frozen=True)
class Turning:
    """Expansion and rotation around a point that may drift.

    Attributes:
        expansion: rate of the logarithm of size, 1/ms; above 0 the picture looms, and is there in
            1 / expansion ms where it comes at a constant speed.
        rotation: rad/ms, clockwise as y grows downwards.
        centre: (x, y) of the point at the start, pixels.
        drift: (vx, vy) of the point, px/ms.
    """

    expansion: float
    rotation: float
    centre: tuple[float, float]
    drift: tuple[float, float] = (0.0, 0.0)

    def matrix(self, at_ms: float) -> F64:
        """See :class:`Motion`."""
        scale, angle = math.exp(-self.expansion * at_ms), -self.rotation * at_ms
        linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        point = np.array(self.centre)
        return np.column_stack([linear, point - linear @ (point + np.array(self.drift) * at_ms)])

    def flow(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Velocity (vx, vy) at the start of what is at (x, y), px/ms."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        vx = self.expansion * dx - self.rotation * dy + self.drift[0]
        return vx, self.expansion * dy + self.rotation * dx + self.drift[1]
