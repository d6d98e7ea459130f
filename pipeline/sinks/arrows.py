"""How long arrows of a motion field are, and which colour is which direction, in a film."""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.packets import Columns
from pipeline.sinks.style import direction_colour

_WINDOWS, _SURE = 8, 0.3
_LONGEST, _SHORTEST = 1.6, 0.12
_LARGE, _SMALL = 1.2, 0.3


class ArrowScale:
    """Arrows in proportion to speed: one as long as a tile stands for 1, 2 or 5 times a power of ten, px/s.

    It follows the fast tiles of the last windows, and stays while they fit, so that arrows do not jump.

    Attributes:
        px_per_s: of an arrow as long as a tile; 0 before the first field.
    """

    def __init__(self) -> None:
        self.px_per_s = 0.0
        self._speeds: deque[NDArray[np.float64]] = deque(maxlen=_WINDOWS)

    def follow(self, field: Columns) -> None:
        """Take in the rows of one window."""
        sure = field["confidence"] >= _SURE
        self._speeds.append(1000 * np.hypot(field["vx"][sure], field["vy"][sure]).astype(np.float64))
        speeds = np.concatenate(list(self._speeds))
        fast = float(np.percentile(speeds, 90)) if len(speeds) else 0.0
        if fast > 0 and (fast > _LARGE * self.px_per_s or fast < _SMALL * self.px_per_s):
            self.px_per_s = _round(fast)

    def tiles(self, px_per_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lengths of arrows, in tiles."""
        if self.px_per_s == 0:
            return np.full_like(px_per_ms, _SHORTEST)
        return np.clip(1000 * px_per_ms / self.px_per_s, _SHORTEST, _LONGEST)


def _round(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power or step == 10)


def wheel(radius: int) -> NDArray[np.uint8]:
    """A disc of the directions' colours [2 r + 1, 2 r + 1, 4], blue, green, red and how much it covers."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    away = np.hypot(x, y)
    colour = direction_colour(np.arctan2(y, x))[..., ::-1]
    cover = np.clip(radius + 0.5 - away, 0, 1) * np.clip(away - 0.35 * radius, 0, 1)
    return (np.concatenate([colour, cover[..., None]], axis=2) * 255).astype(np.uint8)


def draw_legend(picture: NDArray[np.uint8], scale: ArrowScale, tile_px: float) -> None:
    """The wheel and the length of an arrow into the lower right corner of a picture [h, w, 3]."""
    disc = wheel(14)
    side, (h, w) = disc.shape[0], picture.shape[:2]
    if h < 2 * side or w < 12 * side or scale.px_per_s == 0:
        return
    part = picture[h - side - 6 : h - 6, w - side - 6 : w - 6]
    cover = disc[..., 3:].astype(np.float64) / 255
    part[:] = (part * (1 - cover) + disc[..., :3] * cover).astype(np.uint8)
    text = f"{scale.px_per_s:g} px/s"
    start, y = w - side - 110 - round(tile_px), h - 14
    cv2.putText(
        picture,
        text,
        (w - side - 100, y + 4),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        (235, 235, 235),
        1,
        cv2.LINE_AA,
    )
    cv2.arrowedLine(
        picture, (start, y), (start + round(tile_px), y), (235, 235, 235), 1, cv2.LINE_AA, tipLength=0.3
    )
