"""The classes of a motion bank: rings of directions, one ring a speed; and the symmetries among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernels.columns import F64, I64
from pipeline.models.bundle import MotifLabel

_WORDS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")

TURNS = tuple(
    np.array(matrix)
    for matrix in (
        ((1, 0), (0, 1)), ((0, -1), (1, 0)), ((-1, 0), (0, -1)), ((0, 1), (-1, 0)),
        ((-1, 0), (0, 1)), ((1, 0), (0, -1)), ((0, 1), (1, 0)), ((0, -1), (-1, 0)),
    )
)  # fmt: skip
"""The quarter turns and, behind them, the mirrorings of a square, on (x, y)."""


@dataclass(frozen=True)
class Rings:
    """Directions x speeds.

    Attributes:
        directions: how many a ring, evenly spread.
        speeds: of the rings, px/ms.
        turned_deg: by how much each ring is turned; none where empty.
    """

    directions: int
    speeds: tuple[float, ...]
    turned_deg: tuple[float, ...] = ()

    def __len__(self) -> int:
        return self.directions * len(self.speeds)

    @property
    def angle_deg(self) -> F64:
        """Of each class; classes go direction by direction, within one from the first ring to the last."""
        turned = np.array(self.turned_deg or (0.0,) * len(self.speeds), np.float64)
        even = np.arange(self.directions, dtype=np.float64) * (360 / self.directions)
        return np.add.outer(even, turned).ravel()

    @property
    def speed(self) -> F64:
        """Of each class, px/ms."""
        return np.tile(np.array(self.speeds), self.directions)

    @property
    def velocity(self) -> F64:
        """(vx, vy) of each class, px/ms, y downwards: [class, 2]."""
        angle = np.radians(self.angle_deg)
        return np.stack([self.speed * np.cos(angle), self.speed * np.sin(angle)], axis=1)

    def labels(self) -> tuple[MotifLabel, ...]:
        """What a bank calls them."""
        return tuple(
            MotifLabel(
                name=f"{_word(angle)} {speed:g}", direction_deg=float(angle), speed_px_per_ms=float(speed)
            )
            for angle, speed in zip(self.angle_deg, self.speed, strict=True)
        )

    def nearest(self, vx: float, vy: float) -> int:
        """The class of a velocity: the ring nearest in log speed, in it the nearest direction."""
        angle, speed = math.degrees(math.atan2(vy, vx)), math.hypot(vx, vy)
        ring = int(np.argmin(np.abs(np.log(np.array(self.speeds) / speed))))
        turned = self.turned_deg[ring] if self.turned_deg else 0.0
        direction = round((angle - turned) / (360 / self.directions)) % self.directions
        return direction * len(self.speeds) + ring

    def symmetries(self, size: int) -> tuple[I64, I64]:
        """Those of a square that map the classes onto each other; see :func:`symmetries`."""
        velocity = self.velocity
        maps: list[I64 | None] = []
        for turn in TURNS:
            distance = np.linalg.norm((velocity @ turn.T)[:, None] - velocity[None], axis=2)
            maps.append(distance.argmin(axis=1) if distance.min(axis=1).max() < 1e-9 else None)
        return symmetries(size, maps)


def symmetries(size: int, maps: Sequence[I64 | None]) -> tuple[I64, I64]:
    """Where places and classes go under the quarter turns and mirrorings of a square.

    Args:
        size: side of the kernel.
        maps: per :data:`TURNS` the class that each class becomes; None where the classes do not allow it.

    Returns:
        places [g, size * size] and classes [g, class], as :func:`kernels.learning.regression.symmetrise` takes them.
    """
    half = size // 2
    dy, dx = (axis.ravel() - half for axis in np.mgrid[:size, :size])
    places: list[I64] = []
    classes: list[I64] = []
    for turn, mapped in zip(TURNS, maps, strict=True):
        if mapped is not None:
            moved = turn @ np.stack([dx, dy])
            places.append((moved[1] + half) * size + moved[0] + half)
            classes.append(mapped)
    return np.stack(places).astype(np.int64), np.stack(classes).astype(np.int64)


def _word(angle_deg: float) -> str:
    index = angle_deg / 45
    return _WORDS[round(index) % 8] if abs(index - round(index)) < 1e-9 else f"{angle_deg:g}°"
