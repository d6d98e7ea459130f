"""Saccadic scans of whitened natural images: the motion that Grimaldi & Perrinet train and test on.

"Learning heterogeneous delays in a layer of spiking neurons for fast motion detection", Biological
Cybernetics 2023. Every millisecond the class is drawn anew with probability 1/24; the image moves at its
velocity, sub-pixel; a pixel's event tells that the difference of two frames exceeds one standard
deviation (:func:`kernels.learning.scan.retina`): about 6 % of all voxels per polarity. A bin is 1 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.columns import F64
from kernels.learning import scan
from pipeline.training.classes import Rings
from pipeline.training.rendering.images import Image
from pipeline.training.rendering.movies import Movie

_REDRAWN = 1 / 24
_CUT = 0.2
"""Cycles a pixel above which whitening lets nothing through: 0.4 of what pixels can hold."""


@dataclass(frozen=True)
class View:
    """How an image is looked at.

    Attributes:
        size: side of the square sensor, pixels.
        bins: length of a movie, ms.
        zoom: range of the image's magnification.
        turn: whether it is turned by any angle.
    """

    size: int = 128
    bins: int = 200
    zoom: tuple[float, float] = (1.0, 1.0)
    turn: bool = False


def wandering(rings: Rings, bins: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A class for each bin, drawn anew now and then."""
    redrawn = rng.random(bins) < _REDRAWN
    redrawn[0] = True
    drawn = rng.integers(len(rings), size=int(redrawn.sum()))
    return drawn[np.cumsum(redrawn) - 1]


def movie(
    image: Image, rings: Rings, label: NDArray[np.int64], view: View, rng: np.random.Generator
) -> Movie:
    """Events of ``image`` as it moves by the velocity of ``label`` [bins] in each bin."""
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(rings.velocity[label], axis=0)])
    low, high = path.min(axis=0), path.max(axis=0)
    margin = scan.REACH + 2
    side = view.size + math.ceil(float((high - low).max())) + 2 * margin
    texture = whiten(cut(image, -(-side // 16) * 16, view, rng))
    # The window goes the other way: what it shows moves along the path.
    left, top = ((high[i] - path[:, i]) + margin for i in (0, 1))
    frames = scan.slide(texture, top, left, view.size)
    theta = _spread(frames)
    return Movie.of_bins(scan.retina(frames, theta), label)


def whiten(image: Image) -> Image:
    """rho exp(-(rho / 0.2)^4) in frequency rho, cycles a pixel: the amplitude spectrum of natural images, flat.

    Olshausen & Field, Vision Research 1997.
    """
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]
    rho = np.hypot(fy, fx)
    gain = (rho * np.exp(-((rho / _CUT) ** 4))).astype(np.float32)
    return np.fft.irfft2(np.fft.rfft2(image) * gain, image.shape).astype(np.float32)


def cut(image: Image, side: int, view: View, rng: np.random.Generator) -> Image:
    """A square out of an image, magnified and turned; a small image goes on as its mirror image."""
    zoom = math.exp(rng.uniform(math.log(view.zoom[0]), math.log(view.zoom[1])))
    angle = rng.uniform(0, 2 * math.pi) if view.turn else 0.0
    if zoom < 1:  # no aliasing when the image shrinks
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / zoom), np.float32)
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / zoom
    reach = np.abs(linear).sum(axis=1) * side / 2
    centre = [
        rng.uniform(min(r, n / 2), max(n - r, n / 2)) for r, n in zip(reach, image.shape[::-1], strict=True)
    ]
    offset = np.array(centre) - linear @ np.array([side / 2, side / 2])
    return np.asarray(
        cv2.warpAffine(
            image, np.column_stack([linear, offset]), (side, side),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )  # fmt: skip


def _spread(frames: NDArray[np.float32]) -> float:
    """One standard deviation of the differences between frames."""
    difference: F64 = np.diff(frames, axis=0).astype(np.float64)
    return float(difference.std())
