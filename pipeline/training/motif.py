"""Training a motif bank: multinomial logistic regression through time with a light cone.

Grimaldi & Perrinet, Biological Cybernetics 2023. Every voxel that held an event is an example; its
label is the class of its movie. Ends by quantising to integers, and measures what that cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels import learning, motifs
from pipeline.models import motif_bank
from pipeline.models.motif_bank import BankCard, MotifLabel
from pipeline.training import images, motion

Progress = Callable[[int, int, float, float], None]
"""Called with (step, steps, loss, voxel accuracy)."""

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")


class MotifTraining(BaseModel):
    """Everything that decides what a bank becomes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "motif8"
    directions: int = Field(default=8, ge=2)
    speeds_px_per_ms: tuple[float, ...] = (0.15, 0.45)
    speed_range: tuple[float, float] = (0.08, 0.8)
    size: int = Field(default=13, ge=3, le=31, description="side of the kernel, odd")
    delays: int = Field(default=21, ge=2, le=64)
    bin_us: int = 1000
    steps: int = Field(default=4000, ge=1)
    movies: int = Field(default=8, ge=1, description="movies a step")
    voxels: int = Field(default=300, ge=1, description="voxels a movie")
    rate: float = Field(default=2e-3, gt=0)
    test_movies: int = Field(default=160, ge=1)
    seed: int = 1


PRESETS = {"motif8": MotifTraining()}


def labels(config: MotifTraining) -> list[MotifLabel]:
    """The classes: direction by direction, slow before fast."""
    found: list[MotifLabel] = []
    for i in range(config.directions):
        angle = 360 * i / config.directions
        for speed in config.speeds_px_per_ms:
            word = DIRECTIONS[i] if config.directions == len(DIRECTIONS) else f"{angle:g}deg"
            found.append(MotifLabel(name=f"{word} {speed:g}", direction_deg=angle, speed_px_per_ms=speed))
    return found


def train(config: MotifTraining, out: Path, progress: Progress) -> BankCard:
    """Train a bank, quantise it, test it on images it never saw, and write its bundle to ``out``."""
    rng = np.random.default_rng(config.seed)
    scene = motion.Scene()
    learner = _Learner(config, rng)
    library = images.load(images.TRAIN)
    for step in range(config.steps):
        batch = [_example(config, scene, library, learner.mask_size, rng) for _ in range(config.movies)]
        loss, accuracy = learner.step(batch, _annealed(config, step))
        progress(step + 1, config.steps, loss, accuracy)
    weight, bias = learner.bank()
    whole, whole_bias, scale = motif_bank.quantise(weight, bias)
    accuracy = {
        "what": f"{config.test_movies} movies of one motion each, {scene.size}x{scene.size}, "
        f"{scene.duration_ms} ms, images never seen in training: {', '.join(images.HELD_OUT)}",
        "chance": 1 / len(labels(config)),
        "integers": evaluate(config, whole, whole_bias),
        "float": evaluate(config, weight.astype(np.float32), bias.astype(np.float32)),
        "training_images": evaluate(config, whole, whole_bias, images.TRAIN),
    }
    card = BankCard(
        name=config.name, version="1.0.0", bin_us=config.bin_us, scale=scale, contrast_flip=False,
        labels=tuple(labels(config)), accuracy=accuracy,
        provenance={
            "command": f"polychrony train motif --preset {config.name}",
            "config": config.model_dump(mode="json"),
            "images": list(images.TRAIN),
            "method": "softmax regression over active taps, light-cone mask, Adam; "
            "Grimaldi & Perrinet, Biological Cybernetics 2023",
        },
        licence="weights: Apache-2.0; trained on images of the scikit-image and scikit-learn "
        "distributions (public domain or CC0, CC-BY for china.jpg and flower.jpg)",
    )  # fmt: skip
    motif_bank.save(out, card, whole, whole_bias)
    return card


def evaluate(
    config: MotifTraining, weight: NDArray[np.float32], bias: NDArray[np.float32],
    names: tuple[str, ...] = images.HELD_OUT,
) -> dict[str, float]:  # fmt: skip
    """Accuracy per movie on new movies, through the very kernel that runs on streams.

    A movie's class is the argmax of the mean evidence over the 15 % of its voxels whose winner is surest.
    """
    rng = np.random.default_rng(config.seed + 1_000_003)
    scene, library, bank = motion.Scene(), images.load(names), motifs.taps(weight, bias, False)
    classes, speeds = labels(config), len(config.speeds_px_per_ms)
    right = right_direction = voxels = 0
    for i in range(config.test_movies):
        truth = i % len(classes)
        label = classes[truth]
        speed, angle = label.speed_px_per_ms or 1.0, math.radians(label.direction_deg or 0.0)
        image = library[int(rng.integers(len(library)))]
        columns = motion.movie(image, speed * math.cos(angle), speed * math.sin(angle), scene, rng)
        history = motifs.new_history(scene.size, scene.size, bank.radius)
        found = motifs.advance(*columns, history, bank, config.bin_us, 2**60, True)
        if len(found.total) == 0:
            continue
        surest = np.argsort(-found.total, kind="stable")[: max(1, len(found.total) * 15 // 100)]
        guess = int(found.evidence[surest].mean(axis=0).argmax())
        right += guess == truth
        right_direction += guess // speeds == truth // speeds
        voxels += len(found.total)
    return {
        "class": right / config.test_movies,
        "direction": right_direction / config.test_movies,
        "voxels_per_movie": voxels / config.test_movies,
    }


def light_cone(size: int, delays: int) -> NDArray[np.float64]:
    """How large a weight may be, [delay, dy, dx] in 0..1: now at the centre, the past spreads out."""
    half = size // 2
    offset = np.arange(-half, half + 1) / (half + 0.5)
    r2 = (offset[:, None] ** 2 + offset[None, :] ** 2)[None]
    s = (1 - np.arange(delays) / (delays - 1))[:, None, None]
    window = np.where(r2 < 2, np.clip((1 + np.cos(np.pi * np.minimum(np.sqrt(r2), 1))) / 2, 0, 1), 0) ** 0.25
    return window * np.exp(-r2 / (2 * (2.5 * (1 - s) + 0.05) ** 2))


def _annealed(config: MotifTraining, step: int) -> float:
    return config.rate * 0.5 * (1 + math.cos(math.pi * step / config.steps)) + config.rate * 0.01


Example = tuple[learning.I32, NDArray[np.int64], int]


def _example(
    config: MotifTraining, scene: motion.Scene, library: list[images.Image], margin: int, rng: Any
) -> Example:
    """Active taps of some voxels of one movie, and its class."""
    direction = int(rng.integers(config.directions))
    angle = 2 * math.pi * (direction + rng.uniform(-0.35, 0.35)) / config.directions
    speed = math.exp(rng.uniform(math.log(config.speed_range[0]), math.log(config.speed_range[1])))
    nearest = int(np.argmin(np.abs(np.log(np.array(config.speeds_px_per_ms) / speed))))
    image = library[int(rng.integers(len(library)))]
    t, x, y, p = motion.movie(image, speed * math.cos(angle), speed * math.sin(angle), scene, rng)
    bins = scene.duration_ms * 1000 // config.bin_us
    past = learning.recent_past(t, x, y, p, scene.size, scene.size, bins, config.bin_us)
    now = np.argwhere(np.any(past & np.uint64(1), axis=3))
    inside = np.all((now[:, 1:] >= margin) & (now[:, 1:] < scene.size - margin), axis=1)
    voxels = now[inside & (now[:, 0] >= config.delays)]
    if len(voxels) > config.voxels:
        voxels = voxels[rng.choice(len(voxels), config.voxels, replace=False)]
    index, offsets = learning.gather(past, voxels, config.size, config.delays)
    return index, offsets, direction * len(config.speeds_px_per_ms) + nearest


class _Learner:
    """Weights [tap, class] under Adam, kept inside the light cone."""

    def __init__(self, config: MotifTraining, rng: np.random.Generator) -> None:
        size, delays, classes = config.size, config.delays, len(labels(config))
        self._shape = (size, size, 2, delays, classes)
        self.mask_size = size // 2
        cone = light_cone(size, delays).transpose(1, 2, 0)[:, :, None, :, None]
        self._mask = np.broadcast_to(cone, self._shape).reshape(-1, classes).astype(np.float32)
        self._weight = (0.01 * rng.standard_normal(self._mask.shape) * self._mask).astype(np.float32)
        self._bias = np.zeros(classes, np.float32)
        self._moments = [np.zeros_like(v) for v in (self._weight, self._weight, self._bias, self._bias)]
        self._steps = 0

    def step(self, batch: list[Example], rate: float) -> tuple[float, float]:
        """One step of Adam on the mean cross-entropy; (loss, accuracy) before it."""
        index = np.concatenate([part for part, _, _ in batch])
        sizes = np.concatenate([np.diff(offsets) for _, offsets, _ in batch])
        truth = np.concatenate([np.full(len(offsets) - 1, label) for _, offsets, label in batch])
        if len(truth) == 0:
            return math.nan, math.nan
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        scores = learning.logits(index, offsets, self._weight, self._bias)
        scores -= scores.max(axis=1, keepdims=True)
        share = np.exp(scores)
        share /= share.sum(axis=1, keepdims=True)
        rows = np.arange(len(truth))
        loss = float(-np.log(np.maximum(share[rows, truth], 1e-12)).mean())
        accuracy = float((share.argmax(axis=1) == truth).mean())
        share[rows, truth] -= 1
        share /= len(truth)
        self._adam(learning.gradient(index, offsets, share, len(self._weight)), share.sum(axis=0), rate)
        bound = self._mask * np.abs(self._weight).max()
        np.clip(self._weight, -bound, bound, out=self._weight)
        return loss, accuracy

    def bank(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights [class, polarity, delay, dy, dx] and biases."""
        weight = self._weight.reshape(self._shape).transpose(4, 2, 3, 0, 1)
        return weight.astype(np.float64), self._bias.astype(np.float64)

    def _adam(self, by_weight: NDArray[np.float32], by_bias: NDArray[np.float32], rate: float) -> None:
        self._steps += 1
        for value, slope, at in ((self._weight, by_weight, 0), (self._bias, by_bias, 2)):
            first, second = self._moments[at], self._moments[at + 1]
            first += 0.1 * (slope - first)
            second += 0.001 * (slope * slope - second)
            unbiased = first / (1 - 0.9**self._steps)
            spread = np.sqrt(second / (1 - 0.999**self._steps)) + 1e-8
            np.subtract(value, (rate * unbiased / spread).astype(np.float32), out=value)
