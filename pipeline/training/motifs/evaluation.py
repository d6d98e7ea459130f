"""How good a bank is, by the protocol of Grimaldi & Perrinet (Biological Cybernetics 2023).

A trial is a movie of one constant motion of an image that was never learned from. Its answer is the class
with the largest mean evidence over the 15 % of the evaluated voxels whose winner has the most evidence.
Trials are functions of (seed, number), so banks and prunings of banks are compared on the same movies.
Everything runs through the very kernel that runs on streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.columns import F32, F64
from kernels.learning import regression
from kernels.motifs import detection, history, targets
from kernels.motifs.detection import Taps
from pipeline.models.motif_bank import prune
from pipeline.training.labelled import HELD_OUT, TRAIN
from pipeline.training.motifs.config import MotifTraining
from pipeline.training.motifs.sources import MovieMaker
from pipeline.training.rendering.movies import Movie

SUREST = 0.15
PRUNED = (0.17, 0.1, 0.03, 0.02, 0.0116, 0.0064, 0.0048, 0.0026, 0.00145)
"""Fractions of the weights that are kept in the pruning curve."""
EVERY = 16
"""Voxels of every so many events are evaluated in a trial: 20,000 of a movie of 128 x 128 x 200."""

_TRIALS = 2**30
MakeTrial = Callable[[int], tuple[Movie, int]]


@dataclass(frozen=True)
class Score:
    """Shares of the trials.

    Attributes:
        right: whose class was found.
        direction: whose direction was found, whatever the speed.
    """

    right: float
    direction: float

    def rounded(self) -> dict[str, float]:
        """As a card says it."""
        return {"class": round(self.right, 4), "direction": round(self.direction, 4)}


def trials(maker: MovieMaker, split: str, seed: int) -> MakeTrial:
    """Trial i of a split: its movie and its class."""

    def make(i: int) -> tuple[Movie, int]:
        truth = i % len(maker.labels)
        movie = maker.trial(np.random.default_rng([seed, _TRIALS, i]), split, truth)
        if movie is None:
            raise ValueError(f"{maker.config.motion}: no movie is of one class alone")
        return movie, truth

    return make


def evidence(bank: Taps, movie: Movie, every: int = EVERY) -> detection.Found:
    """What a bank finds in a movie, with all classes' sums."""
    past = history.new_history(movie.width, movie.height, bank.width, bank.height)
    lists = detection.new_lists(movie.width, movie.height, bank)
    return detection.advance(
        *movie.events, past, lists, bank, movie.bin_us, 2**60, True, targets.at_events(every)
    )


def answer(found_total: F32, found_evidence: F32) -> int:
    """The class of a trial; -1 where nothing was evaluated."""
    n = len(found_total)
    if n == 0:
        return -1
    k = max(1, int(SUREST * n))
    surest = np.argpartition(-found_total, k - 1)[:k]
    return int(found_evidence[surest].mean(axis=0, dtype=np.float64).argmax())


def compare(
    banks: Mapping[str, Taps], make: MakeTrial, n: int, speeds: int, threads: int, every: int = EVERY
) -> dict[str, Score]:
    """Each bank's score on the same ``n`` trials.

    Args:
        banks: by name.
        make: trial by number.
        n: how many.
        speeds: classes of one direction follow each other, so many.
        threads: movies at a time.
        every: see :data:`EVERY`.
    """

    def one(i: int) -> list[tuple[int, int]]:
        movie, truth = make(i)
        return [
            (answer(f.total, f.evidence), truth) for f in (evidence(b, movie, every) for b in banks.values())
        ]

    with ThreadPoolExecutor(threads) as pool:
        pairs = np.array(list(pool.map(one, range(n))))  # [trial, bank, (answer, truth)]
    right = (pairs[..., 0] == pairs[..., 1]).mean(axis=0)
    direction = (pairs[..., 0] // speeds == pairs[..., 1] // speeds).mean(axis=0)
    return {name: Score(float(right[i]), float(direction[i])) for i, name in enumerate(banks)}


def report(
    config: MotifTraining, maker: MovieMaker, weight: F32, bias: F32, trained: tuple[F64, F64], scale: float,
    threads: int,
) -> dict[str, Any]:  # fmt: skip
    """What a bank's card says of its accuracy: pruned, shortened, on training images, and before quantising."""
    chance = round(1 / len(maker.labels), 4)
    if maker.trial(np.random.default_rng(0), HELD_OUT, 0) is None:
        return {"chance": chance, **by_voxel(config, maker, weight, bias, trained, scale)}
    n, flip = config.test_movies, config.contrast_flip
    speeds = len(config.speeds_px_per_ms) if maker.labels[0].direction_deg is not None else 1
    held_out = trials(maker, HELD_OUT, config.seed)
    whole = detection.taps(weight, bias, flip)
    shorter = [d for d in (17, 15, 13, 11, 9, 6, 3) if d < config.delays]
    banks = {"whole": whole}
    banks |= {f"keep {keep:g}": detection.taps(prune(weight, keep), bias, flip) for keep in PRUNED}
    banks |= {f"delays {d}": detection.taps(weight[:, :, :d].copy(), bias, flip) for d in shorter}
    scores = compare(banks, held_out, n, speeds, threads)
    known = compare({"whole": whole}, trials(maker, TRAIN, config.seed + 1), min(n, 300), speeds, threads)
    movie, _ = held_out(0)
    return {
        "what": f"{n} movies of one class each, such as {movie.width}x{movie.height}, {len(movie.label)} bins, of "
        "what was not learned from; class with the largest mean evidence over the surest 15 % of the voxels of "
        f"every {EVERY}th event",
        "chance": chance,
        **scores["whole"].rounded(),
        "training_images": known["whole"].rounded(),
        "pruning": {f"{keep:g}": scores[f"keep {keep:g}"].rounded()["class"] for keep in PRUNED},
        "shortening": {str(d): scores[f"delays {d}"].rounded()["class"] for d in shorter},
        "quantising": quantising(config, held_out, weight, bias, trained, scale, min(n, 100)),
    }


def by_voxel(
    config: MotifTraining, maker: MovieMaker, weight: F32, bias: F32, trained: tuple[F64, F64], scale: float
) -> dict[str, Any]:
    """Share of the voxels of each class that are told, of movies that hold several classes."""
    forms = [_flat(w, b) for w, b in ((weight * np.float32(scale), bias * np.float32(scale)), trained)]
    n = len(maker.labels)
    confusion = np.zeros((n, n), np.int64)
    alike = voxels = 0
    for i in range(config.test_movies):
        movie = maker.make(np.random.default_rng([config.seed, _TRIALS, i]), HELD_OUT)
        past = movie.past()
        seen = movie.voxels(past, config.size, config.delays)[::EVERY]
        inputs = regression.gather(past, seen, config.size, config.size, config.delays)
        winners = [regression.logits(inputs, w, b, config.contrast_flip)[0].argmax(axis=1) for w, b in forms]
        np.add.at(confusion, (movie.labels(seen), winners[0]), 1)
        alike, voxels = alike + int((winners[0] == winners[1]).sum()), voxels + len(seen)
    told = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return {
        "what": f"voxels of every {EVERY}th event of {config.test_movies} movies of what was not learned from; "
        "class is the mean over the classes",
        "class": round(float(told.mean()), 4),
        "by_class": {label.name: round(float(share), 4) for label, share in zip(maker.labels, told, strict=True)},
        "confusion": confusion.tolist(),
        "quantising": {"voxels_with_the_same_winner": round(alike / max(voxels, 1), 5)},
    }  # fmt: skip


def quantising(
    config: MotifTraining, make: MakeTrial, weight: F32, bias: F32, trained: tuple[F64, F64], scale: float, n: int
) -> dict[str, float]:  # fmt: skip
    """What integers cost: answers and voxels' winners with them and with the floats that were trained."""
    forms = [_flat(w, b) for w, b in ((weight * np.float32(scale), bias * np.float32(scale)), trained)]
    right = np.zeros(2)
    alike = voxels = 0
    for i in range(n):
        movie, truth = make(i)
        past = movie.past()
        seen = movie.voxels(past, config.size, config.delays)[:: EVERY * 4]
        inputs = regression.gather(past, seen, config.size, config.size, config.delays)
        sums = [regression.logits(inputs, w, b, config.contrast_flip)[0] for w, b in forms]
        right += [answer(s.max(axis=1), s) == truth for s in sums]
        alike += int((sums[0].argmax(axis=1) == sums[1].argmax(axis=1)).sum())
        voxels += len(seen)
    return {
        "movies": n, "integers": float(right[0] / n), "floats": float(right[1] / n),
        "voxels_with_the_same_winner": round(alike / max(voxels, 1), 5),
    }  # fmt: skip


def _flat(weight: F32 | F64, bias: F32 | F64) -> tuple[F32, F32]:
    """[class, polarity, delay, dy, dx] as :func:`kernels.learning.regression.logits` takes it."""
    rows = np.ascontiguousarray(weight.transpose(3, 4, 2, 1, 0), np.float32)
    return rows.reshape(-1, rows.shape[-1]), bias.astype(np.float32)
