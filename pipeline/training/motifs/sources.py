"""Where training movies come from, by the kind of motion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from kernels.columns import I64
from pipeline.models.bundle import MotifLabel
from pipeline.training import classes
from pipeline.training.labelled import HELD_OUT, TRAIN, VALIDATION, Recording, by_label
from pipeline.training.motifs.config import MotifTraining
from pipeline.training.rendering import clouds, images, saccades, shapes, slides
from pipeline.training.rendering.images import Image
from pipeline.training.rendering.motions import Motion, Sliding, Turning
from pipeline.training.rendering.movies import Movie

_LEAVES_PX = 512
_NATURAL = 0.6
"""Share of the training movies that show natural images, where dead leaves are among them."""


class MovieMaker(ABC):
    """Makes movies of one kind, from material kept apart by split.

    Attributes:
        labels: of the classes.
        images: what each split is made of, for the card.
    """

    labels: tuple[MotifLabel, ...]
    images: dict[str, list[str]]

    def __init__(self, config: MotifTraining) -> None:
        self.config = config

    @abstractmethod
    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """A movie to learn from."""

    def trial(self, rng: np.random.Generator, split: str, label: int) -> Movie | None:
        """A movie of one class, to be tested on; None where there are none, and voxels are tested instead."""
        del rng, split, label
        return None

    def symmetries(self, size: int) -> tuple[I64, I64]:
        """What the classes allow; see :func:`pipeline.training.classes.symmetries`."""
        same = np.arange(len(self.labels))
        return classes.symmetries(size, [same, *[None] * (len(classes.TURNS) - 1)])


class _Pictures(MovieMaker):
    """Movies of images: natural ones, dead leaves, the user's."""

    def __init__(self, config: MotifTraining) -> None:
        super().__init__(config)
        self.labels = config.rings.labels()
        self.images = {}
        self._natural: dict[str, list[Image]] = {}
        self._leaves = [
            images.dead_leaves(_LEAVES_PX, np.random.default_rng([config.seed, 7, i]))
            for i in range(config.leaves)
        ]
        if config.images is None:
            for split, names in (
                (TRAIN, images.TRAIN), (VALIDATION, images.VALIDATION), (HELD_OUT, images.HELD_OUT)
            ):  # fmt: skip
                self._natural[split], self.images[split] = images.load(names), list(names)
        else:
            self._share(images.folder(Path(config.images)))

    def symmetries(self, size: int) -> tuple[I64, I64]:
        """See :class:`MovieMaker`."""
        return self.config.rings.symmetries(size)

    def image(self, rng: np.random.Generator, split: str) -> Image:
        """One of the split's images."""
        natural = self._natural[split]
        if split == TRAIN and self._leaves and rng.random() > _NATURAL:
            return self._leaves[int(rng.integers(len(self._leaves)))]
        return natural[int(rng.integers(len(natural)))]

    def _share(self, own: list[Image]) -> None:
        """The user's images: each eighth is held out, each eighth validates, the others are learned from."""
        if len(own) < 3:
            raise images.MissingImages(
                f"{self.config.images}: has {len(own)} images; at least 3 are needed, to learn, validate and test"
            )
        part = max(1, len(own) // 8)
        self._natural = {HELD_OUT: own[:part], VALIDATION: own[part : 2 * part], TRAIN: own[2 * part :]}
        self.images = {split: [f"{len(some)} of the user's"] for split, some in self._natural.items()}


class Saccades(_Pictures):
    """Whitened images that are scanned; see :mod:`pipeline.training.rendering.saccades`."""

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


class Slides(_Pictures):
    """Images that slide under the DVS pixel model; see :mod:`pipeline.training.rendering.slides`."""

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
        label = self.config.rings.nearest(vx, vy)
        return under_pixels(self.image(rng, split), Sliding(vx, vy), label, self.config.bin_us, rng)


class Drawn(Slides):
    """Bars, dots or gratings that slide under the DVS pixel model; see :mod:`pipeline.training.rendering.shapes`."""

    def __init__(self, config: MotifTraining) -> None:
        super().__init__(config.model_copy(update={"leaves": 0}))
        self.images = {split: [config.motion] for split in (TRAIN, VALIDATION, HELD_OUT)}

    def image(self, rng: np.random.Generator, split: str) -> Image:
        """Drawn anew each time."""
        del split
        return shapes.DRAWN[self.config.motion](192, rng)


class Clouds(MovieMaker):
    """Motion Clouds of any orientation; see :mod:`pipeline.training.rendering.clouds`."""

    def __init__(self, config: MotifTraining) -> None:
        super().__init__(config)
        self.labels = config.rings.labels()
        self.images = {split: ["Motion Clouds"] for split in (TRAIN, VALIDATION, HELD_OUT)}

    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """See :class:`MovieMaker`."""
        return self._at(int(rng.integers(len(self.labels))), clouds.Cloud(size=64, bins=100), rng)

    def trial(self, rng: np.random.Generator, split: str, label: int) -> Movie:
        """See :class:`MovieMaker`."""
        return self._at(label, clouds.Cloud(), rng)

    def symmetries(self, size: int) -> tuple[I64, I64]:
        """See :class:`MovieMaker`."""
        return self.config.rings.symmetries(size)

    def _at(self, label: int, cloud: clouds.Cloud, rng: np.random.Generator) -> Movie:
        vx, vy = self.config.rings.velocity[label]
        return clouds.movie(float(vx), float(vy), rng.uniform(0, math.pi), label, cloud, rng)


class Looming(_Pictures):
    """Images that loom, recede or pass by; the first two are told near the point from which they spread."""

    NAMES = ("looming", "receding", "passing")

    def __init__(self, config: MotifTraining) -> None:
        super().__init__(config)
        self.labels = tuple(MotifLabel(name=name) for name in self.NAMES)

    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """See :class:`MovieMaker`."""
        kind = int(rng.integers(len(self.labels)))
        size = slides.Scene().size
        if kind == 2:
            angle, speed = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(math.log(0.05), math.log(0.6)))
            motion: Motion = Sliding(speed * math.cos(angle), speed * math.sin(angle))
            where = 2
        else:
            centre = rng.uniform(size * 0.35, size * 0.65, 2)
            motion = self._around((float(centre[0]), float(centre[1])), kind, rng)
            y, x = np.mgrid[:size, :size]
            distance = np.hypot(x - centre[0], y - centre[1])
            where = np.where(distance < self.config.size / 3, kind, -1)
        return under_pixels(self.image(rng, split), motion, where, self.config.bin_us, rng)

    def symmetries(self, size: int) -> tuple[I64, I64]:
        """All of them: what looms looms in any direction."""
        return classes.symmetries(size, [np.arange(len(self.labels))] * len(classes.TURNS))

    def _around(self, centre: tuple[float, float], kind: int, rng: np.random.Generator) -> Turning:
        rate = math.exp(rng.uniform(math.log(0.008), math.log(0.03)))
        return Turning(rate if kind == 0 else -rate, 0.0, centre)


class Rotation(Looming):
    """Images that turn, or pass by."""

    NAMES = ("clockwise", "counter-clockwise", "passing")

    def symmetries(self, size: int) -> tuple[I64, I64]:
        """Quarter turns change nothing, a mirror changes the sense."""
        same, other = np.arange(3), np.array([1, 0, 2])
        return classes.symmetries(size, [same] * 4 + [other] * 4)

    def _around(self, centre: tuple[float, float], kind: int, rng: np.random.Generator) -> Turning:
        rate = math.exp(rng.uniform(math.log(0.01), math.log(0.06)))
        return Turning(0.0, rate if kind == 0 else -rate, centre)


class Recordings(MovieMaker):
    """The user's recordings; see :mod:`pipeline.training.labelled`."""

    BINS, SIDE = 100, 64

    def __init__(self, config: MotifTraining) -> None:
        super().__init__(config)
        found = by_label(Path(config.recordings or "."))
        self.labels = tuple(MotifLabel(name=name) for name in found)
        self._of = list(found.values())
        self.images = {
            split: [one.name for of in self._of for one in of[split]]
            for split in (TRAIN, VALIDATION, HELD_OUT)
        }

    def make(self, rng: np.random.Generator, split: str) -> Movie:
        """A part of a recording: 100 bins of 64 x 64 pixels around one of its events."""
        label = int(rng.integers(len(self.labels)))
        one = self._one(rng, split, label)
        t, x, y, p = one.events
        i, span = int(rng.integers(len(t))), self.BINS * self.config.bin_us
        side_x, side_y = min(self.SIDE, one.width), min(self.SIDE, one.height)
        left = int(np.clip(int(x[i]) - rng.integers(side_x), 0, one.width - side_x))
        top = int(np.clip(int(y[i]) - rng.integers(side_y), 0, one.height - side_y))
        start = int(t[i]) - int(rng.integers(span))
        a, b = np.searchsorted(t, [start, start + span])
        inside = (x[a:b] >= left) & (x[a:b] < left + side_x) & (y[a:b] >= top) & (y[a:b] < top + side_y)
        columns = (
            t[a:b][inside] - start, (x[a:b][inside] - left).astype(np.uint16),
            (y[a:b][inside] - top).astype(np.uint16), p[a:b][inside],
        )  # fmt: skip
        return Movie(columns, np.full(self.BINS, label), side_x, side_y, self.config.bin_us)

    def trial(self, rng: np.random.Generator, split: str, label: int) -> Movie:
        """A whole recording."""
        one = self._one(rng, split, label)
        bins = int(one.events[0][-1]) // self.config.bin_us + 1
        return Movie(one.events, np.full(bins, label), one.width, one.height, self.config.bin_us)

    def _one(self, rng: np.random.Generator, split: str, label: int) -> Recording:
        of = self._of[label][split]
        return of[int(rng.integers(len(of)))]


def under_pixels(
    image: Image, motion: Motion, label: int | I64, bin_us: int, rng: np.random.Generator
) -> Movie:
    """A movie of what DVS pixels see of an image that moves; ``label`` of all voxels, or of each pixel."""
    scene = slides.Scene()
    events = slides.movie(image, motion, scene, rng)
    bins = scene.duration_ms * 1000 // bin_us
    of_all = isinstance(label, int)
    shape = (bins,) if of_all else (bins, scene.size, scene.size)
    return Movie(events, np.broadcast_to(label, shape).astype(np.int64), scene.size, scene.size, bin_us)


_MAKERS: dict[str, type[MovieMaker]] = {
    "saccades": Saccades, "slides": Slides, "clouds": Clouds, "bars": Drawn, "dots": Drawn,
    "gratings": Drawn, "looming": Looming, "rotation": Rotation, "recordings": Recordings,
}  # fmt: skip


def maker(config: MotifTraining) -> MovieMaker:
    """What makes the movies of a training.

    Raises:
        MissingImages: its images are not there.
        NoRecordings: its recordings are not there.
        SourceError: one of them cannot be read.
    """
    return _MAKERS[config.motion](config)
