"""Learning from recordings by a gradient or by local traces, batch by batch, on the threads there are."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels._lanes import padded
from kernels.columns import F32
from kernels.networks.synapses import Shape
from pipeline.errors import UserError
from pipeline.models.delta import DeltaNetwork, DeltaRun
from pipeline.models.inputs import encoded, windowed
from pipeline.models.spiking import Run, SpikingNetwork, dense
from pipeline.packets import Events
from pipeline.training import labelled
from pipeline.training.augment import Augment, augmented
from pipeline.training.classifiers import tess
from pipeline.training.classifiers.plan import INPUT_STEP, SHARDS, ClassifierTraining
from pipeline.training.classifiers.spiking import Activity, SpikingLearner
from pipeline.training.labelled import Recording
from pipeline.training.motifs.trainer import CannotResume
from pipeline.writing import replace_file

Network = SpikingNetwork | DeltaNetwork
Progress = Callable[[float, str], None]
"""Called with the share that is done, and how it goes."""


class TooFew(UserError):
    """There is too little to learn from."""


class Data:
    """Labelled recordings, and which part of its label each belongs to."""

    def __init__(self, path: Path) -> None:
        self.labels, self.recordings, truth = labelled.of(path)
        self.truth = np.array(truth, np.int64)
        sizes = {(one.width, one.height) for one in self.recordings}
        if len(sizes) > 1:
            raise TooFew(f"{path}: recordings of different sensors: {sorted(sizes)}")
        self.width, self.height = sizes.pop()
        counts = np.bincount(self.truth, minlength=len(self.labels))
        if len(self.labels) < 2 or counts.min() < 3:
            raise TooFew(f"{path}: needs at least two labels, and three recordings of each")
        groups = [one.group for one in self.recordings]
        if None in groups:
            self.number = np.concatenate([np.arange(n) for n in counts])
        else:
            self.number = np.unique(np.array(groups, np.int64), return_inverse=True)[1]
        """Place among the recordings of its label, or of its group among the groups: what splits go by."""


def fit(
    config: ClassifierTraining, data: Data, learned: NDArray[np.int64], checkpoint: Path, progress: Progress,
    pool: ThreadPoolExecutor,
) -> SpikingLearner:  # fmt: skip
    """A network that learned from some of the recordings; goes on from ``checkpoint`` where there is one."""
    shape = Shape(data.height, data.width, config.polarities)
    learner = SpikingLearner(shape, config.layers, len(data.labels), config.neuron, config.seed)
    seen = config.model_dump_json(exclude={"recordings", "name"}) + str(learned.tolist())
    first = _load(checkpoint, learner, seen) if checkpoint.exists() else 0
    batches = max(1, len(learned) // config.batch)
    for epoch in range(first, config.epochs):
        order = np.random.default_rng([config.seed, epoch]).permutation(learned)
        right, loss = 0, 0.0
        for i in range(batches):
            which = np.resize(order[i * config.batch : (i + 1) * config.batch], config.batch)
            found = _batch(config, data, learner, which, epoch, pool)
            progress_at = (epoch + (i + 1) / batches) / config.epochs
            rate = config.rate * (0.5 + 0.5 * math.cos(math.pi * progress_at)) + config.rate * 0.003
            learner.learn(found[0], rate, config.shrink)
            right, loss = right + found[1], loss + found[2]
            seen_now = (i + 1) * config.batch
            progress(
                progress_at, f"epoch {epoch + 1}, loss {loss / (i + 1):.3f}, right {right / seen_now:.1%}"
            )
        if (epoch + 1) % 5 == 0 or epoch + 1 == config.epochs:
            _save(checkpoint, learner, seen, epoch + 1)
    return learner


def outputs(network: Network, recordings: Sequence[Recording], pool: ThreadPoolExecutor) -> F32:
    """S of each recording, [recording, step, class], by the kernels that run on streams."""
    return np.array(list(pool.map(partial(_sums, network), [one.events for one in recordings])), np.float32)


def _sums(network: Network, events: Events) -> F32:
    if network.card.encoding is None:
        raise TooFew("the network does not say how events become its input")
    if isinstance(network, DeltaNetwork):
        spikes = encoded(events, network.card.encoding)
        counts = dense(spikes, int(np.prod(network.card.input)))
        window, run = int(network.card.provenance["config"]["window_steps"]), DeltaRun(network)
        answers = [run.step(one) for one in windowed(counts, window, network.card.input_top)]
        return np.cumsum(answers, axis=0, dtype=np.float32)
    sent = Run(network).advance(encoded(events, network.card.encoding))[network.output]
    return dense(sent, len(network.card.labels))


def _batch(
    config: ClassifierTraining, data: Data, learner: SpikingLearner, which: NDArray[np.int64], epoch: int,
    pool: ThreadPoolExecutor,
) -> tuple[list[F32], int, float]:  # fmt: skip
    """(slopes, how many were right, mean loss) of a batch, part by part."""
    turned = learner.turned()
    carrying = np.ones(config.steps, np.bool_)
    if config.backward_steps is not None and config.backward_steps < config.steps:
        drawn = np.random.default_rng([config.seed, epoch, int(which[0]), 7])
        carrying[:] = False
        carrying[drawn.choice(config.steps, config.backward_steps, replace=False)] = True
    parts = [part for part in np.array_split(which, SHARDS) if len(part)]
    shard = partial(_shard, config, data, learner, epoch, turned, carrying, len(which))
    found = list(pool.map(shard, parts))
    slopes = found[0][0]
    for other, _, _ in found[1:]:
        slopes = [mine + theirs for mine, theirs in zip(slopes, other, strict=True)]
    return slopes, sum(right for _, right, _ in found), sum(loss for _, _, loss in found)


def _shard(
    config: ClassifierTraining, data: Data, learner: SpikingLearner, epoch: int, turned: list[F32],
    carrying: NDArray[np.bool_], batch: int, which: NDArray[np.int64],
) -> tuple[list[F32], int, float]:  # fmt: skip
    frames = _frames(config, data, which, epoch)
    activity, slopes = Activity(learner.layers, len(which)), learner.new_slopes()
    local = (
        (tess.Traces(learner.layers, frames[0]), tess.projections(learner, config.seed))
        if config.method == "tess" else None
    )  # fmt: skip
    truth = np.eye(len(data.labels), dtype=np.float32)[data.truth[which]]
    total, loss = np.zeros_like(truth), 0.0
    scale = np.float32(batch * carrying.sum())
    for step in range(config.steps):
        sent = learner.forward(frames[step], activity)
        total += sent
        share = np.exp(sent - sent.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        loss += float(-np.log(np.maximum((share * truth).sum(axis=1), 1e-12)).sum()) / (batch * config.steps)
        if carrying[step]:
            error = (share - truth) / scale
            if local is None:
                learner.backward(frames[step], error, activity, turned, slopes)
            else:
                tess.learn_step(
                    learner,
                    frames[step],
                    error,
                    truth,
                    activity,
                    *local,
                    config.tess,
                    1 / float(scale),
                    slopes,
                )
    right = int((total.argmax(axis=1) == data.truth[which]).sum())
    return slopes, right, loss


def _frames(config: ClassifierTraining, data: Data, which: NDArray[np.int64], epoch: int) -> F32:
    """What arrives, [step, example, site, lane]; augmented by a draw of (seed, epoch, recording)."""
    how = config.encoding(data.width, data.height)
    sites, lanes = data.width * data.height, padded(how.polarities)
    out = np.zeros((config.steps, len(which), sites, lanes), np.float32)
    plain, relu = config.augment == Augment(), config.neuron.kind == "relu"
    for k, i in enumerate(which):
        events = data.recordings[i].events
        if not plain:
            rng = np.random.default_rng([config.seed, epoch, int(i), 11])
            events = augmented(events, data.width, data.height, config.augment, rng)
        values = dense(encoded(events, how), sites * how.polarities)
        if relu:
            values = windowed(values, config.window_steps, how.most) * np.float32(INPUT_STEP)
        out[:, k, :, : how.polarities] = values.reshape(config.steps, sites, how.polarities)
    return out


def _save(path: Path, learner: SpikingLearner, seen: str, epoch: int) -> None:
    """By rename, so that a checkpoint is whole or not there."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **learner.snapshot(), seen=np.array(seen), epoch=np.array([epoch]))
    replace_file(path, buffer.getbuffer())


def _load(path: Path, learner: SpikingLearner, seen: str) -> int:
    """How many epochs are done."""
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["seen"]) != seen:
            raise CannotResume(f"{path}: of another training; remove it, or choose another folder")
        learner.restore(dict(saved))
        return int(saved["epoch"][0])
