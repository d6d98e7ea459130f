"""Natural images to move about: those inside the scikit-image and scikit-learn wheels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

Image = NDArray[np.float32]

TRAIN = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "motorcycle_left.png", "rocket.jpg", "china.jpg", "text.png", "hubble_deep_field.jpg",
)  # fmt: skip
HELD_OUT = ("flower.jpg", "gravel.png", "ihc.png", "moon.png", "page.png")
"""Never seen in training: accuracy is reported on these alone."""


class MissingImages(UserError):
    """The training images are not installed."""


def load(names: tuple[str, ...]) -> list[Image]:
    """Grey images of these names, float32 in 0..255.

    Raises:
        MissingImages: scikit-image and scikit-learn (dependency group ``train``) are not installed.
    """
    return [_read(name) for name in names]


def _read(name: str) -> Image:
    for folder in _folders():
        path = folder / name
        if path.is_file():
            image: Any = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            return np.asarray(image, np.float32)
    raise MissingImages(
        f"training image {name} not found: install the dependency group 'train' (scikit-image, scikit-learn)"
    )


def _folders() -> list[Path]:
    found: list[Path] = []
    for package, inside in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = find_spec(package)
        if spec and spec.origin:
            found.append(Path(spec.origin).parent / inside)
    return found
