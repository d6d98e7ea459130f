"""Generated motion: views of images that slide, loom or turn under the DVS pixel model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from kernels.columns import F64
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.training.rendering.images import Image
from pipeline.training.rendering.motions import Motion
from pipeline.training.rendering.movies import Columns


@dataclass(frozen=True)
class Scene:
    """How movies are made.

    Attributes:
        size: side of the square sensor, pixels.
        duration_ms: length of a movie; one frame each ms.
        theta: range of the event threshold, log intensity.
        zoom: range of the image's magnification.
        contrast: range of the factor on the image's contrast.
        noise_hz: largest rate of background events per pixel.
    """

    size: int = 64
    duration_ms: int = 64
    theta: tuple[float, float] = (0.12, 0.4)
    zoom: tuple[float, float] = (0.5, 1.6)
    contrast: tuple[float, float] = (0.5, 1.3)
    noise_hz: float = 4.0


def movie(image: Image, motion: Motion, scene: Scene, rng: np.random.Generator) -> Columns:
    """Events (t, x, y, p) of a random view of ``image`` that moves."""
    view = _View(image, scene, rng)
    theta = float(rng.uniform(*scene.theta))
    emulator = Emulator(EmulatorConfig(theta_on=theta, theta_off=theta), scene.size, scene.size)
    parts = [emulator.feed(view.frame(motion.matrix(ms)), ms * 1e-3) for ms in range(scene.duration_ms + 1)]
    parts.append(_noise(scene, rng))
    t, x, y, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(t, kind="stable")
    order = order[t[order] < scene.duration_ms * 1000]
    return t[order], x[order], y[order], p[order]


class _View:
    """A rotated, magnified, re-lit window onto an image."""

    def __init__(self, image: Image, scene: Scene, rng: np.random.Generator) -> None:
        zoom = math.exp(rng.uniform(math.log(scene.zoom[0]), math.log(scene.zoom[1])))
        if zoom < 1:  # no aliasing when the image shrinks
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 / zoom), np.float32)
        contrast = rng.uniform(*scene.contrast)
        self._image = np.clip((image - image.mean()) * contrast + rng.uniform(80, 150), 2, 255)
        angle = rng.uniform(0, 2 * math.pi)
        self._linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        self._linear /= zoom
        height, width = image.shape
        margin = min(scene.size / zoom, width / 2 - 1, height / 2 - 1)
        self._centre = np.array([rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)])
        self._size = scene.size

    def frame(self, moved: F64) -> Image:
        offset = self._centre - self._linear @ np.full(2, self._size / 2)
        matrix = np.column_stack([self._linear @ moved[:, :2], self._linear @ moved[:, 2] + offset])
        warped = cv2.warpAffine(
            self._image, matrix, (self._size, self._size),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        return np.clip(np.asarray(warped, np.float32), 0, 255)


def _noise(scene: Scene, rng: np.random.Generator) -> Columns:
    expected = rng.uniform(0, scene.noise_hz) * scene.size**2 * scene.duration_ms * 1e-3
    n = int(rng.poisson(expected))
    return (
        rng.integers(0, scene.duration_ms * 1000, n),
        rng.integers(0, scene.size, n).astype(np.uint16),
        rng.integers(0, scene.size, n).astype(np.uint16),
        rng.random(n) < 0.5,
    )
