"""Training a readout of motion (:mod:`kernels.motion.flow`): softmax regression on scenes of known motion.

Examples are *bags*: one to nine tiles of the same motion, one to four windows deep, their features added with the
weights that time and neighbours have when the field is made, so that a tile states what it knows and no more.
Labels are soft: a Gaussian over directions and speeds; flat where nothing moves. Scenes are functions of (seed,
number). Validation scenes, of other images, then tell what confidence is worth, and held-out ones how good it is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels.columns import F32, F64, I64
from kernels.learning import regression
from kernels.motion import flow
from pipeline.models import bundle, registry
from pipeline.models.bundle import ModelError
from pipeline.models.flow_readout import FlowCard, directions, save, sureness
from pipeline.models.motif_bank import MotifBank
from pipeline.training.field.scores import (
    ALL,
    WAIT_MS,
    WAIT_PX,
    Told,
    calibration,
    calibration_error,
    joined,
    summary,
    told_of_all,
)
from pipeline.training.field.tile_windows import BINS_US, LEAST, TILE, Window, windows
from pipeline.training.rendering import images, random_scenes
from pipeline.training.rendering.images import Image
from pipeline.training.rendering.scenes import NO_LAYER, film

ANGLES, FREQUENCIES = 24, 8
LOG2_SPEED = -6.0 + np.arange(26) / 3
"""Of the cells: 2^(i/3) px/ms, 0.0156 to 5."""
_SIGMA_CELLS, _SIGMA_DEG = 0.35, 4.0
_BEFORE_US = 400_000


class FieldTraining(BaseModel):
    """A training; the same configuration makes the same readout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "flow36"
    bank: str = "motif36"
    movies: int = Field(default=1500, ge=8)
    bags: int = Field(default=120, ge=1, description="bags of a movie, at most")
    epochs: int = Field(default=20, ge=1)
    batch: int = 2048
    rate: float = 0.005
    decay: float = 1e-4
    leaves: int = Field(default=48, ge=0, description="dead-leaves images among the training images")
    seed: int = 1


@dataclass(frozen=True)
class Examples:
    """Bags: sums of features, and what they are of.

    Attributes:
        z: [n, scale, class] float32; so is ``normal``, divided by its length.
        normal: see above.
        has: [n, scale] float32.
        one: [n] float32.
        vx: [n] px/ms; so is ``vy``.
        vy: see above.
    """

    z: F32
    normal: F32
    has: F32
    one: F32
    vx: F64
    vy: F64


def grid(bank: MotifBank) -> tuple[I64, I64]:
    """(place on the grid of angles, number of the speed) of each class of a bank.

    Raises:
        ValueError: its directions do not lie on the grid.
    """
    degrees = np.array([label.direction_deg or 0.0 for label in bank.card.labels])
    speeds = np.array([label.speed_px_per_ms or 0.0 for label in bank.card.labels])
    place = degrees / (360 / ANGLES)
    if np.any(np.abs(place - np.rint(place)) > 1e-6) or speeds.min() <= 0:
        raise ValueError(f"the directions of {bank.card.name} are no multiples of {360 // ANGLES} degrees")
    return np.rint(place).astype(np.int64) % ANGLES, np.searchsorted(np.unique(speeds), speeds)


@lru_cache(maxsize=2)
def _pictures(leaves: int, seed: int) -> tuple[list[Image], ...]:
    natural = images.load(images.TRAIN)
    drawn = [images.dead_leaves(512, np.random.default_rng([seed, 7, i])) for i in range(leaves)]
    return natural, drawn


def bank_of(config: FieldTraining) -> MotifBank:
    """The bank whose evidence is read.

    Raises:
        ModelError: there is none of this name on the pixel grid.
    """
    bank = registry.load_bank(config.bank)
    if not isinstance(bank, MotifBank):
        raise ModelError(f"{config.bank} is a bank on addresses: allowed are banks on the pixel grid")
    return bank


def _movie(config: FieldTraining, number: int) -> Examples:
    """The bags of one movie."""
    rng = np.random.default_rng([config.seed, 11, number])
    natural, drawn = _pictures(config.leaves, config.seed)
    pool = drawn if drawn and rng.random() < 0.4 else natural
    scene, sensor = random_scenes.drawn(pool, rng), random_scenes.sensor(rng)
    before_us = int(rng.integers(0, 2)) * _BEFORE_US
    take = film(scene, sensor, before_us)
    if before_us:  # so that slow scales are warm whatever the sensor, some events long before
        take = random_scenes.with_specks(take, int(rng.integers(20, 200)), rng)
    bank = bank_of(config)
    found = windows(take, bank.taps(), int(rng.choice([2, 4, 8])))
    return _bags(config, found, -(-scene.width // TILE), bank.card.scale, rng)


def features(sums: I64, rows: I64, scale: float) -> tuple[F32, F32, F32]:
    """(Z, Z / nu [n, scale, class], has [n, scale]) of tiles [scale, n, class]; see :mod:`kernels.motion.flow`."""
    n = rows.T[:, :, None].astype(np.float64)
    z = np.where(n > 0, np.sqrt(n / (n + 4)) * scale * sums.transpose(1, 0, 2) / np.maximum(n, 1), 0.0)
    nu = 0.3 + np.sqrt(np.mean(z**2, axis=(1, 2), keepdims=True))
    return z.astype(np.float32), (z / nu).astype(np.float32), (rows.T > 0).astype(np.float32)


def _bags(
    config: FieldTraining, found: list[Window], across: int, scale: float, rng: np.random.Generator
) -> Examples:
    per_window = [features(one.sums, one.rows, scale) for one in found]
    places = [
        (w, int(k)) for w, one in enumerate(found)
        for k in np.flatnonzero((one.layer != NO_LAYER) & (one.rows.sum(axis=0) > 0))
    ]  # fmt: skip
    parts: list[tuple[F32, F32, F32, float, float, float]] = []
    for i in rng.permutation(len(places))[: config.bags]:
        w, k = places[i]
        parts.append(_bag(found, per_window, w, k, across, len(parts) < config.bags // 5, rng))
    noise = [
        (w, int(k)) for w, one in enumerate(found)
        for k in np.flatnonzero((one.moving == 0) & (one.events >= LEAST) & (one.rows.sum(axis=0) > 0))
    ]  # fmt: skip
    most = config.bags // 6 if places else config.bags
    for i in rng.permutation(len(noise))[:most]:  # where nothing moves nothing is to be told
        w, k = noise[i]
        z, normal, has = (part[k] for part in per_window[w])
        parts.append((z, normal, has, 1.0, math.nan, math.nan))
    if not parts:
        empty = np.empty((0, len(BINS_US), found[0].sums.shape[2] if found else 36), np.float32)
        return Examples(empty, empty, empty[:, :, 0], empty[:, 0, 0], np.empty(0), np.empty(0))
    z, normal, has, one, vx, vy = zip(*parts, strict=True)
    return Examples(
        np.stack(z), np.stack(normal), np.stack(has), np.array(one, np.float32), np.array(vx), np.array(vy)
    )


def _bag(
    found: list[Window], per_window: list[tuple[F32, F32, F32]], w: int, k: int, across: int, alone: bool,
    rng: np.random.Generator,
) -> tuple[F32, F32, F32, float, float, float]:  # fmt: skip
    """Features of some tiles of the same layer and motion around one, over its last windows."""
    centre = found[w]
    tiles, deep = [k], 1
    if not alone:
        deep = int(rng.integers(1, 5))
        here = np.arange(centre.layer.size)
        near = (np.abs(here % across - k % across) <= 3) & (np.abs(here // across - k // across) <= 3)
        alike = np.hypot(centre.vx - centre.vx[k], centre.vy - centre.vy[k]) <= 0.05 * math.hypot(
            centre.vx[k], centre.vy[k]
        )
        others = np.flatnonzero(near & alike & (centre.layer == centre.layer[k]) & (here != k))
        tiles += rng.permutation(others)[: int(rng.integers(0, 9))].tolist()
    total, sums = 0.0, [np.zeros_like(part[0]) for part in per_window[w]]
    for back in range(min(deep, w + 1)):
        one = found[w - back]
        for tile in tiles:
            if one.layer[tile] == centre.layer[k] and one.rows[:, tile].any():
                weight = 0.7**back
                total += weight
                for i, part in enumerate(per_window[w - back]):
                    sums[i] += np.float32(weight) * part[tile]
    root = math.sqrt(total)
    z, normal, has = (part / np.float32(root) for part in sums)
    return z, normal, has, total / root, float(centre.vx[k]), float(centre.vy[k])


def examples(
    config: FieldTraining, numbers: range, progress: Callable[[float], None], threads: int | None
) -> Examples:
    """The bags of many movies, in order of their numbers."""
    with ProcessPoolExecutor(threads or os.cpu_count(), get_context("spawn")) as pool:
        made = list[Examples]()
        for one in pool.map(_movie_of, ((config, number) for number in numbers), chunksize=4):
            made.append(one)
            progress(len(made) / len(numbers))
    return Examples(
        *(np.concatenate([getattr(one, name) for one in made]) for name in Examples.__dataclass_fields__)
    )


def _movie_of(what: tuple[FieldTraining, int]) -> Examples:
    return _movie(*what)


class Learner:
    """The readout under training: real W [q, f, o], B [s, o], B0 [o]; Adam."""

    def __init__(self, bank: MotifBank) -> None:
        self.angle, self.speed = grid(bank)
        self._planes = int(self.speed.max()) + 1
        turn = 2 * np.pi / ANGLES * np.outer(np.arange(ANGLES), np.arange(FREQUENCIES))
        self.cosine, self.sine = np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)
        f, o = 2 * len(BINS_US) * self._planes, len(LOG2_SPEED)
        self.parts = [
            np.zeros((FREQUENCIES, f, o), np.float32), np.zeros((len(BINS_US), o), np.float32),
            np.zeros(o, np.float32),
        ]  # fmt: skip
        self._moments = [(np.zeros_like(part), np.zeros_like(part)) for part in self.parts]
        self._step = 0

    def planes(self, examples: Examples, at: NDArray[np.int64]) -> tuple[F32, F32]:
        """X^ [n, f, q], real and imaginary."""
        out = []
        for table, sign in ((self.cosine, 1), (self.sine, -1)):
            sets = []
            for z in (examples.z[at], examples.normal[at]):
                one = np.zeros((len(at), len(BINS_US), self._planes, FREQUENCIES), np.float32)
                for j in range(self._planes):
                    own = self.speed == j
                    one[:, :, j] = z[:, :, own] @ (sign * table[self.angle[own]])
                sets.append(one.reshape(len(at), -1, FREQUENCIES))
            out.append(np.concatenate(sets, axis=1))
        return out[0], out[1]

    def logits(self, real: F32, imaginary: F32, has: F32, one: F32) -> F32:
        """L [n, o, a]."""
        weight, own, bias = self.parts
        along = np.einsum("nfq,qfo->noq", real, weight, optimize=True)
        beside = np.einsum("nfq,qfo->noq", imaginary, weight, optimize=True)
        return along @ self.cosine.T - beside @ self.sine.T + (has @ own + one[:, None] * bias)[:, :, None]

    def step(self, examples: Examples, at: NDArray[np.int64], rate: float, decay: float) -> float:
        """One step on a batch; the mean cross-entropy before it."""
        real, imaginary = self.planes(examples, at)
        has, one = examples.has[at], examples.one[at]
        logits = self.logits(real, imaginary, has, one)
        truth = soft_labels(examples.vx[at], examples.vy[at])
        flat = logits.reshape(len(at), -1)
        flat = flat - flat.max(axis=1, keepdims=True)
        share = np.exp(flat)
        share /= share.sum(axis=1, keepdims=True)
        loss = float(-(truth.reshape(len(at), -1) * np.log(np.maximum(share, 1e-12))).sum(axis=1).mean())
        slope = ((share - truth.reshape(len(at), -1)) / len(at)).reshape(logits.shape).astype(np.float32)
        along, beside = slope @ self.cosine, -(slope @ self.sine)
        flat_slope = slope.sum(axis=2)
        gradients = [
            np.einsum("nfq,noq->qfo", real, along, optimize=True)
            + np.einsum("nfq,noq->qfo", imaginary, beside, optimize=True),
            has.T @ flat_slope, one @ flat_slope,
        ]  # fmt: skip
        self._step += 1
        for part, gradient, moments in zip(self.parts, gradients, self._moments, strict=True):
            regression.adam(part, (gradient + decay * part).astype(np.float32), *moments, self._step, rate)
        return loss

    def readout(self, scale: float) -> flow.Readout:
        """As the kernel takes it, rounded to 1/256."""
        weight, has, bias = (np.rint(part * 256).astype(np.float32) / np.float32(256) for part in self.parts)
        return flow.readout(weight, has, bias, self.angle, self.speed, LOG2_SPEED, ANGLES, scale)


def soft_labels(vx: F64, vy: F64) -> F32:
    """A Gaussian around the truth over the cells [n, o, a]; flat where there is none (NaN)."""
    u, v = np.nan_to_num(vx), np.nan_to_num(vy)
    speed, turn = np.log2(np.maximum(np.hypot(u, v), 1e-6)), np.degrees(np.arctan2(v, u))
    cells = (LOG2_SPEED[None] - np.clip(speed, LOG2_SPEED[0], LOG2_SPEED[-1])[:, None]) * 3
    apart = (np.arange(ANGLES)[None] * (360 / ANGLES) - turn[:, None] + 180) % 360 - 180
    share = (
        np.exp(-((cells / _SIGMA_CELLS) ** 2) / 2)[:, :, None]
        * np.exp(-((apart / _SIGMA_DEG) ** 2) / 2)[:, None]
    )
    share /= share.sum(axis=(1, 2), keepdims=True)
    return np.where(np.isnan(vx)[:, None, None], 1 / share[0].size, share).astype(np.float32)


def fit(
    config: FieldTraining, bank: MotifBank, examples: Examples, progress: Callable[[float, float], None]
) -> Learner:
    """A readout that was fitted to bags."""
    learner, rng = Learner(bank), np.random.default_rng([config.seed, 13])
    steps = -(-len(examples.one) // config.batch) * config.epochs
    for done, at in enumerate(_shuffled(len(examples.one), config, rng)):
        share = done / steps
        rate = config.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
        loss = learner.step(examples, at, rate, config.decay)
        progress((done + 1) / steps, loss)
    return learner


def _shuffled(n: int, config: FieldTraining, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(config.epochs):
        order = rng.permutation(n)
        for start in range(0, n, config.batch):
            yield order[start : start + config.batch]


def train(
    config: FieldTraining, out: Path, progress: Callable[[float, str], None], threads: int | None = None
) -> FlowCard:
    """Train a readout, calibrate it, test it on images that it never saw, and write its bundle to ``out``."""
    bank = bank_of(config)
    seen = examples(config, range(config.movies), lambda share: progress(0.8 * share, "scenes"), threads)
    learner = fit(config, bank, seen, lambda share, loss: progress(0.8 + 0.05 * share, f"loss {loss:.3f}"))
    points, accuracy = _measured(
        learner.readout(bank.card.scale),
        config,
        lambda share, what: progress(0.85 + 0.15 * share, what),
        threads,
    )
    card = FlowCard(
        name=config.name, version="1.0.0", labels=directions(ANGLES), bank=config.bank, bank_digest=bank.digest,
        bins_us=BINS_US, lowest_log2=float(LOG2_SPEED[0]), confidence=tuple(points), accuracy=accuracy,
        provenance={
            "command": "polychrony train field", "config": config.model_dump(mode="json"), "bags": len(seen.one),
            "images": {"train": [*images.TRAIN, f"{config.leaves} dead leaves"], "validation": [*images.VALIDATION],
                       "held_out": [*images.HELD_OUT]},
            "method": "softmax regression of log posteriors on a bank's evidence at several bin widths, Adam",
        },
        licence="weights: Apache-2.0; trained on images of the scikit-image and scikit-learn distributions "
        "(public domain or CC0, CC-BY for china.jpg and flower.jpg) and on generated images",
    )  # fmt: skip
    weight, has, bias = learner.parts
    save(out, card, {"weight": weight, "has": has, "bias": bias}, learner.angle, learner.speed)
    progress(1.0, "done")
    return card


def measure(
    name: str, seed: int, out: Path, progress: Callable[[float, str], None], threads: int | None = None
) -> FlowCard:
    """Write a readout to ``out`` with the same weights, and its confidence and accuracy measured anew: they change
    with the bank, with :mod:`kernels.motion.flow` and with the filter in front.

    Raises:
        ModelError: there is no readout of this name.
    """
    model = registry.load_readout(name)
    config = FieldTraining(name=name, bank=model.card.bank, seed=seed)
    points, accuracy = _measured(model.readout(bank_of(config).card.scale), config, progress, threads)
    card = model.card.model_copy(update={"confidence": tuple(points), "accuracy": accuracy})
    tensors = {"weight": model.weight, "has": model.has, "bias": model.bias}
    bundle.save(
        out, card, {**tensors, "angle": model.angle.astype(np.int16), "speed": model.speed.astype(np.int16)}
    )
    progress(1.0, "done")
    return card


def _measured(
    readout: flow.Readout, config: FieldTraining, progress: Callable[[float, str], None], threads: int | None
) -> tuple[list[tuple[float, float]], dict[str, Any]]:
    """What confidence is worth, on validation images, and accuracy on images that nothing was learned from."""
    validation = told_of_all(
        images.VALIDATION, config.seed + 100, readout, config.bank,
        lambda share: progress(0.5 * share, "confidence"), threads,
    )  # fmt: skip
    whole = joined(validation)
    points = calibration(whole.mass, whole.right.astype(np.float64))
    tested = told_of_all(
        images.HELD_OUT, config.seed + 200, readout, config.bank, lambda share: progress(0.5 + 0.5 * share, "test"),
        threads,
    )  # fmt: skip
    held_out = [(kind, name, rows) for (kind, _, name), rows in zip(ALL, tested, strict=True)]
    return points, _accuracy(held_out, points)


def _accuracy(held_out: list[tuple[str, str, Told]], points: list[tuple[float, float]]) -> dict[str, Any]:
    """What the card says: without the noisy sensor, with it alone, by kind, and of confidence."""

    def of(chosen: Callable[[str, str], bool]) -> Told:
        return joined([rows for kind, name, rows in held_out if chosen(kind, name)])

    whole = of(lambda kind, name: True)
    given, share = zip(*points, strict=True)
    confidence = np.interp(sureness(whole.mass), given, share)
    kinds = {
        kind: summary(of(lambda k, n, kind=kind: k == kind and n != "noisy"))
        for kind in (*random_scenes.KINDS, *random_scenes.CAMERA)
    }
    return {
        "what": f"{len(held_out)} scenes of images that were not learned from, {random_scenes.SLOWEST:g} to "
        f"{random_scenes.FASTEST:g} px/ms; rows of tiles of "
        f"{TILE} pixels on the moving thing, after {WAIT_MS:g} ms and {WAIT_PX:g} px; shares of rows, degrees, "
        "speed over the true one, relative end-point error",
        "ideal_and_clean": summary(of(lambda kind, name: name != "noisy")),
        "noisy": summary(of(lambda kind, name: name == "noisy")),
        "by_kind": kinds,
        "calibration_error": round(calibration_error(confidence, whole.right.astype(np.float64)), 4),
    }
