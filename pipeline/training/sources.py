"""Where training movies come from, by the kind of motion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from pipeline.models.bundle import MotifLabel
from pipeline.training import images, saccades, slides
from pipeline.training.config import MotifTraining
from pipeline.training.images import Image
from pipeline.training.movies import Movie

_LEAVES_PX = 512
_NATURAL = 0.6
"""Share of the training movies that show natural images, where dead leaves are among them."""


class MovieMaker(ABC):
    """Makes movies of one kind, from images kept apart by split.

    Args:
        config: of the training.
    """

    def __init__(self, config: MotifTraining) -> None:
        self.config = config
        self.labels: tuple[MotifLabel, ...] = config.rings.labels()
        self.images: dict[str, list[str]] = {}
        self._natural: dict[str, list[Image]] = {}
        self._leaves = [
            images.dead_leaves(_LEAVES_PX, np.random.default_rng([config.seed, 7, i]))
            for i in range(config.leaves)
        ]
        if config.images is None:
            for split, names in (
                ("train", images.TRAIN), ("validation", images.VALIDATION), ("held_out", images.HELD_OUT)
            ):  # fmt: skip
                self._natural[split], self.images[split] = images.load(names), list(names)
        else:
            self._share(images.folder(Path(config.images)))

    @abstractmethod
    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """A movie to learn from."""

    @abstractmethod
    def trial(self, rng: np.random.Generator, split: str, label: int) -> Movie:
        """A movie of one constant motion, to be tested on."""

    def image(self, rng: np.random.Generator, split: str) -> Image:
        """One of the split's images."""
        natural = self._natural[split]
        if split == "train" and self._leaves and rng.random() > _NATURAL:
            return self._leaves[int(rng.integers(len(self._leaves)))]
        return natural[int(rng.integers(len(natural)))]

    def _share(self, own: list[Image]) -> None:
        """The user's images: each eighth is held out, each eighth validates, the others are learned from."""
        held, valid = max(1, len(own) // 8), max(1, len(own) // 8)
        self._natural = {
            "held_out": own[:held], "validation": own[held : held + valid] or own[:held],
            "train": own[held + valid :] or own[held:] or own,
        }  # fmt: skip
        self.images = {split: [f"{len(some)} of the user's"] for split, some in self._natural.items()}


class Saccades(MovieMaker):
    """Whitened images that are scanned; see :mod:`pipeline.training.saccades`."""

    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """See :class:`MovieMaker`."""
        view = saccades.View(64, 100, zoom=(0.6, 1.6), turn=True)
        label = saccades.wandering(self.config.rings, view.bins, rng)
        return saccades.movie(self.image(rng, split), self.config.rings, label, view, rng)

    def trial(self, rng: np.random.Generator, split: str, label: int) -> Movie:
        """See :class:`MovieMaker`."""
        view = saccades.View()
        constant = np.full(view.bins, label, np.int64)
        return saccades.movie(self.image(rng, split), self.config.rings, constant, view, rng)


class Slides(MovieMaker):
    """Images that slide under the DVS pixel model; see :mod:`pipeline.training.slides`."""

    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """See :class:`MovieMaker`."""
        angle = rng.uniform(0, 2 * math.pi)
        slow, fast = self.config.speed_range
        speed = math.exp(rng.uniform(math.log(slow), math.log(fast)))
        return self._at(speed * math.cos(angle), speed * math.sin(angle), rng, split)

    def trial(self, rng: np.random.Generator, split: str, label: int) -> Movie:
        """See :class:`MovieMaker`."""
        vx, vy = self.config.rings.velocity[label]
        return self._at(float(vx), float(vy), rng, split)

    def _at(self, vx: float, vy: float, rng: np.random.Generator, split: str) -> Movie:
        scene = slides.Scene()
        events = slides.movie(self.image(rng, split), vx, vy, scene, rng)
        bins = scene.duration_ms * 1000 // self.config.bin_us
        label = np.full(bins, self.config.rings.nearest(vx, vy), np.int64)
        return Movie(events, label, scene.size, scene.size, self.config.bin_us)


_MAKERS: dict[str, type[MovieMaker]] = {"saccades": Saccades, "slides": Slides}


def maker(config: MotifTraining) -> MovieMaker:
    """What makes the movies of a training."""
    return _MAKERS[config.motion](config)
