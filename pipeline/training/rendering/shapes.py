"""Pictures that are drawn: bars, dots and gratings."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from pipeline.training.rendering.images import Image


def bars(side: int, rng: np.random.Generator) -> Image:
    """Bright and dark bars of one orientation on grey."""
    across = np.full(side, 128.0)
    for _ in range(int(rng.integers(1, max(2, side // 24)))):
        start, width = rng.integers(0, side), rng.integers(2, 9)
        across[start : start + width] = rng.choice([20.0, 235.0])
    picture = np.repeat(across[None], side, axis=0).astype(np.float32)
    return _turned(picture, rng.uniform(0, 180))


def dots(side: int, rng: np.random.Generator) -> Image:
    """Bright and dark discs on grey."""
    canvas = np.full((side, side), 128, np.uint8)
    for _ in range(int(rng.integers(side // 8, side))):
        x, y = rng.integers(0, side, 2)
        radius, grey = int(rng.integers(1, 5)), int(rng.choice([20, 235]))
        cv2.circle(canvas, (int(x), int(y)), radius, grey, cv2.FILLED, cv2.LINE_AA)
    return canvas.astype(np.float32)


def gratings(side: int, rng: np.random.Generator) -> Image:
    """A sinusoidal grating of any orientation, 5 to 24 pixels a period."""
    angle, period, phase = rng.uniform(0, math.pi), rng.uniform(5, 24), rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:side, :side]
    wave = np.sin(2 * math.pi / period * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    return (128 + 100 * wave).astype(np.float32)


DRAWN: dict[str, Callable[[int, np.random.Generator], Image]] = {
    "bars": bars, "dots": dots, "gratings": gratings,
}  # fmt: skip


def _turned(picture: Image, degrees: float) -> Image:
    side = picture.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.5)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REFLECT), np.float32
    )
