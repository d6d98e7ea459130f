"""Training a motif bank: multinomial logistic regression through time with a light cone.

Grimaldi & Perrinet, Biological Cybernetics 2023. Every voxel that held an event is an example; its
label is the class of what moves. Each movie is a function of (seed, step, number), so a run that was
interrupted goes on as if it had not been, and any number of threads makes the same bank. Ends by
quantising to integers, and measures what that cost (:mod:`pipeline.training.motifs.evaluation`).
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernels.columns import I64
from kernels.learning import regression
from kernels.learning.regression import Inputs
from pipeline.errors import UserError
from pipeline.models import motif_bank
from pipeline.models.motif_bank import MotifCard
from pipeline.training.motifs import evaluation
from pipeline.training.motifs.config import MotifTraining
from pipeline.training.motifs.learner import Learner, joined
from pipeline.training.motifs.sources import MovieMaker, maker
from pipeline.writing import replace_file

CHECKPOINT = "checkpoint.npz"
_SAVED_EVERY_S = 60.0
_VALIDATION_MOVIES = 48
_VALIDATED_EVERY = 1000

Batch = tuple[Inputs, I64]


class CannotResume(UserError):
    """There is a checkpoint, but of another training."""


@dataclass(frozen=True)
class Told:
    """How far a training is.

    Attributes:
        step: steps done.
        steps: of so many.
        loss: mean cross-entropy of the step's voxels.
        accuracy: share of its voxels that were right.
        validation: (loss, accuracy) on validation images, when last looked at.
    """

    step: int
    steps: int
    loss: float
    accuracy: float
    validation: tuple[float, float] | None


Progress = Callable[[Told], None]


def train(config: MotifTraining, out: Path, progress: Progress, threads: int | None = None) -> MotifCard:
    """Train a bank, quantise it, test it on images it never saw, and write its bundle to ``out``.

    A run that was interrupted is found by its checkpoint in ``out`` and goes on.

    Raises:
        CannotResume: the checkpoint there is of another configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(config, out)
    threads = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        run.learn(pool, progress)
    weight, bias = run.best
    whole, whole_bias, scale = motif_bank.quantise(weight, bias, config.largest)
    card = MotifCard(
        name=config.name, version="2.0.0", bin_us=config.bin_us, scale=scale,
        contrast_flip=config.contrast_flip, labels=run.maker.labels,
        accuracy=evaluation.report(config, run.maker, whole, whole_bias, run.best, scale, threads),
        provenance={
            "command": f"polychrony train motif --preset {config.name}",
            "config": config.model_dump(mode="json"),
            "images": run.maker.images,
            "steps": run.learner.steps,
            "validation": {"loss": round(run.best_loss, 4), "step": run.best_step},
            "method": "softmax regression over active taps, light-cone mask, Adam; "
            "Grimaldi & Perrinet, Biological Cybernetics 2023",
        },
        licence="weights: Apache-2.0; trained on images of the scikit-image and scikit-learn distributions "
        "(public domain or CC0, CC-BY for china.jpg and flower.jpg) and on generated images",
    )  # fmt: skip
    motif_bank.save(out, card, whole, whole_bias)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return card


class _Run:
    """The state of a training, as it is saved."""

    def __init__(self, config: MotifTraining, out: Path) -> None:
        self.config, self._path = config, out / CHECKPOINT
        self.maker: MovieMaker = maker(config)
        self.learner = Learner(
            config.size,
            config.delays,
            len(self.maker.labels),
            self.maker.symmetries(config.size),
            config.contrast_flip,
            np.random.default_rng(config.seed),
        )
        self.best = self.learner.bank()
        self.best_loss, self.best_step = math.inf, 0
        self._last: tuple[float, float] | None = None
        self._saved_at = time.monotonic()
        if self._path.exists():
            self._load()

    def learn(self, pool: ThreadPoolExecutor, progress: Progress) -> None:
        """Step until the end, or until validation does not get better."""
        validation = joined([self._validation(i) for i in range(_VALIDATION_MOVIES)])
        config, learner = self.config, self.learner
        for batch in self._batches(pool):
            if self._stale():
                break
            loss, accuracy = learner.step(*batch, _annealed(config, learner.steps))
            if learner.steps % _VALIDATED_EVERY == 0 or learner.steps == config.steps:
                self._last = learner.test(*validation)
                if self._last[0] < self.best_loss:
                    self.best, self.best_loss, self.best_step = learner.bank(), self._last[0], learner.steps
            if time.monotonic() - self._saved_at > _SAVED_EVERY_S or learner.steps == config.steps:
                self._save()
            progress(Told(learner.steps, config.steps, loss, accuracy, self._last))

    def _stale(self) -> bool:
        return (
            self.learner.steps - self.best_step >= self.config.patience * _VALIDATED_EVERY
            and self.best_step > 0
        )

    def _batches(self, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        """What each step that is left learns from; the next step's movies are made meanwhile."""
        steps = range(self.learner.steps, self.config.steps)
        ahead = [pool.submit(self._example, step, i) for step in steps[:1] for i in range(self.config.movies)]
        for step in steps:
            waiting, ahead = (
                ahead,
                [
                    pool.submit(self._example, step + 1, i)
                    for i in range(self.config.movies if step + 1 < self.config.steps else 0)
                ],
            )
            yield joined([one.result() for one in waiting])

    def _example(self, step: int, i: int) -> Batch:
        rng = np.random.default_rng([self.config.seed, step, i])
        return self._voxels(rng, "train")

    def _validation(self, i: int) -> Batch:
        return self._voxels(np.random.default_rng([self.config.seed, 2**31, i]), "validation")

    def _voxels(self, rng: np.random.Generator, split: str) -> Batch:
        """Active taps and classes of some voxels of one movie."""
        config = self.config
        movie = self.maker.make(rng, split)
        past = movie.past()
        voxels = movie.voxels(past, config.size, config.delays)
        if len(voxels) > config.voxels:
            voxels = voxels[rng.choice(len(voxels), config.voxels, replace=False)]
        inputs = regression.gather(past, voxels, config.size, config.size, config.delays)
        return inputs, movie.labels(voxels)

    def _save(self) -> None:
        """By rename, so that a checkpoint is whole or not there."""
        weight, bias = self.best
        buffer = io.BytesIO()
        np.savez(
            buffer, allow_pickle=False, **self.learner.snapshot(), best_weight=weight, best_bias=bias,
            best=np.array([self.best_loss, self.best_step]), config=np.array(self.config.model_dump_json()),
        )  # fmt: skip
        replace_file(self._path, buffer.getbuffer())
        self._saved_at = time.monotonic()

    def _load(self) -> None:
        with np.load(self._path, allow_pickle=False) as saved:
            if str(saved["config"]) != self.config.model_dump_json():
                raise CannotResume(f"{self._path}: of another training; remove it, or choose another folder")
            self.learner.restore(dict(saved))
            self.best = saved["best_weight"], saved["best_bias"]
            self.best_loss, self.best_step = float(saved["best"][0]), int(saved["best"][1])


def _annealed(config: MotifTraining, step: int) -> float:
    return config.rate * 0.5 * (1 + math.cos(math.pi * step / config.steps)) + config.rate * 0.01
