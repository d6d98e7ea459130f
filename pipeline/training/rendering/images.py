"""Images to move about: natural ones, by default those inside the scikit-image and scikit-learn wheels,
and dead leaves, of which there is no end.

Dead leaves (Lee, Mumford & Huang, IJCV 2001): discs of any size, as many of a radius as r^-3, that cover
each other. Their edges, occlusions and spectrum are those of natural images.
"""

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
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png",
    "motorcycle_left.png", "rocket.jpg", "china.jpg", "text.png", "hubble_deep_field.jpg",
    "retina.jpg", "cell.png",
)  # fmt: skip
VALIDATION = ("coins.png", "motorcycle_right.png")
"""What early stopping looks at. The second shows much of what a training image shows, from another place."""
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


def folder(path: Path) -> list[Image]:
    """Grey images of a folder that the user gives, in order of their names.

    Raises:
        MissingImages: there is none that can be read.
    """
    found: list[Image] = []
    for one in sorted(path.iterdir()) if path.is_dir() else []:
        image: Any = cv2.imread(str(one), cv2.IMREAD_GRAYSCALE) if one.is_file() else None
        if image is not None:
            found.append(np.asarray(image, np.float32))
    if not found:
        raise MissingImages(f"{path}: no folder with images that OpenCV can read")
    return found


def dead_leaves(side: int, rng: np.random.Generator, smallest: float = 2.0, largest: float = 120.0) -> Image:
    """An image of discs that cover each other, ``side`` pixels square."""
    canvas = np.full((side, side), rng.integers(0, 256), np.uint8)
    n = 12_000
    # Inverse of the distribution of radii: density r^-3 between the two.
    u = rng.random(n)
    radius = (smallest**-2 - u * (smallest**-2 - largest**-2)) ** -0.5
    places, greys = rng.uniform(0, side, (n, 2)), rng.integers(0, 256, n)
    for (x, y), r, grey in zip(places, radius, greys, strict=True):
        centre = round(x * 16), round(y * 16)
        cv2.circle(canvas, centre, round(r * 16), int(grey), cv2.FILLED, cv2.LINE_AA, 4)
    return canvas.astype(np.float32)
