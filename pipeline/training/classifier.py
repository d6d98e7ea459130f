"""Training a spiking classifier on labelled recordings, resumable, with figures from recordings it never saw.

Either a fifth of each label's recordings is held out for the test and another for calibration, or all are used:
each fold is tested, and calibrated on, by a network that learned from the others, and the bundle holds one that
learned from all. Candidates are compared inside each fold, on a part of what it may learn from.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels import encoding
from kernels._lanes import padded
from kernels.columns import F32
from kernels.synapses import Shape, Spikes
from pipeline.errors import UserError
from pipeline.models import confidence, delta, spiking
from pipeline.models.bundle import MotifLabel, Tensors
from pipeline.models.delta import DeltaCard, DeltaNetwork, DeltaRun
from pipeline.models.spiking import Encoding, LayerCard, Run, SpikingCard, SpikingNetwork, dense
from pipeline.packets import Events
from pipeline.training import labelled, shallow, steps, tess
from pipeline.training.augment import Augment, augmented
from pipeline.training.labelled import Recording
from pipeline.training.motif import CannotResume
from pipeline.training.shallow import ReservoirPlan, StdpPlan
from pipeline.training.spiking import Activity, LayerPlan, NeuronPlan, SpikingLearner
from pipeline.training.tess import TessPlan

INPUT_STEP = 0.25
"""What an event adds to the input of a Delta network."""
_SHARDS = 4
"""Parts of a batch, whatever the number of threads: sums come in this order."""

Network = SpikingNetwork | DeltaNetwork
Progress = Callable[[float, str], None]
"""Called with the share that is done, and how it goes."""


class ClassifierTraining(BaseModel):
    """A training; the same configuration and recordings make the same network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="classifier", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    recordings: str = Field(description="folder of recordings, a folder a label, or an .npz of many")
    step_us: int | None = Field(default=40_000, ge=1, description="a step of the network is so long")
    step_events: int | None = Field(default=None, ge=1, description="or so many events")
    steps: int = Field(default=8, ge=1, le=4096, description="looked at of each recording")
    most: int = Field(default=1, ge=1, description="events of a pixel that count in a step")
    polarities: Literal[1, 2] = 2
    layers: tuple[LayerPlan, ...] = (
        LayerPlan(channels=24, size=5, stride=2), LayerPlan(channels=48, size=3, stride=2)
    )  # fmt: skip
    neuron: NeuronPlan = NeuronPlan()
    augment: Augment = Augment()
    method: Literal["sltt", "tess", "reservoir", "stdp"] = Field(
        default="sltt",
        description="the spatial gradient of each step, local traces, a reservoir that is read, or symmetric STDP",
    )
    reservoir: ReservoirPlan = ReservoirPlan()
    stdp: StdpPlan = StdpPlan()
    tess: TessPlan = TessPlan()
    backward_steps: int | None = Field(
        default=None, ge=1, description="only so many steps, drawn anew, carry the gradient (SLTT-K)"
    )
    window_steps: int = Field(
        default=3, ge=1, description="of a Delta network: steps that its input is about"
    )
    loss_by_steps: float = Field(
        default=0.01, ge=0, le=1, description="of a Delta network: accuracy that coarser steps may cost"
    )
    epochs: int = Field(default=120, ge=1)
    batch: int = Field(default=32, ge=_SHARDS, multiple_of=_SHARDS)
    rate: float = Field(default=4e-3, gt=0)
    shrink: float = Field(default=1e-3, ge=0, description="of the weights, times the rate, a step")
    folds: int = Field(
        default=0, ge=0, le=20, description="0: hold out a fifth; else cross-validate, learn from all"
    )
    tune: tuple[dict[str, Any], ...] = Field(
        default=(), description="changes to this configuration, compared inside each fold"
    )
    seed: int = Field(default=1, ge=0)

    def encoding(self, width: int, height: int) -> Encoding:
        """How events become input."""
        return Encoding(
            width=width, height=height, step_us=self.step_us, step_events=self.step_events, steps=self.steps,
            most=self.most, polarities=self.polarities,
        )  # fmt: skip


PRESETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "nmnist": {
        "name": "nmnist", "epochs": 150, "folds": 5,
        "augment": {"shift_px": 2.0, "turn_deg": 10.0, "zoom": 0.1, "shear": 0.15, "delay_us": 40_000},
        "tune": (
            {},
            {"layers": [
                {"channels": 24, "size": 5, "stride": 2}, {"channels": 48, "size": 3, "stride": 2},
                {"channels": 96, "size": 3, "stride": 2},
            ]},
            {"step_us": 20_000, "steps": 16, "neuron": {"decay": 0.7}},
        ),
    },
}  # fmt: skip
"""What differs from the defaults."""


_METHODS = {
    "sltt": "SLTT, Meng et al., ICCV 2023: the loss of each step, its gradient through the layers only",
    "tess": "TESS, Apolinario & Roy, 2025: local traces and a fixed projection on the classes",
    "reservoir": "a reservoir that balances itself, its spike counts read by ridge regression",
    "stdp": "symmetric STDP with a teacher, Hao et al., 2018",
}


class Trained(Protocol):
    """What a method makes: layers and tensors of a spiking network."""

    def exported(self) -> tuple[tuple[LayerCard, ...], Tensors]:
        """The layers of a bundle, and their tensors."""
        ...


@dataclass(frozen=True)
class Shallow:
    """What was learned without a gradient."""

    layers: tuple[LayerCard, ...]
    tensors: Tensors

    def exported(self) -> tuple[tuple[LayerCard, ...], Tensors]:
        """See :class:`Trained`."""
        return self.layers, self.tensors


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
        self.number = np.concatenate([np.arange(n) for n in counts])
        """Place among the recordings of its label."""


def train(
    config: ClassifierTraining, out: Path, progress: Progress, threads: int | None = None
) -> SpikingCard | DeltaCard:
    """Train a classifier, test it on recordings it never saw, and write its bundle to ``out``.

    A run that was interrupted is found by its checkpoints in ``out`` and goes on.

    Raises:
        NoRecordings: there are none.
        TooFew: they do not suffice.
        CannotResume: checkpoints there are of another training.
    """
    out.mkdir(parents=True, exist_ok=True)
    data = Data(Path(config.recordings))
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        make = _crossed if config.folds else _held_out
        learner, chosen, sums, truth, what = make(config, data, out, progress, pool)
    accuracy = _accuracy(sums, truth, data.labels, what)
    card: SpikingCard | DeltaCard
    if chosen.neuron.kind == "relu" and isinstance(learner, SpikingLearner):
        everything = np.arange(len(data.recordings))
        card, tensors = _delta(config, chosen, data, learner, everything, accuracy)
        delta.save(out, card, tensors)
    else:
        told = confidence.calibrated(sums[1], truth[1])
        card = _card(config, chosen, data, learner, accuracy).model_copy(update={"confidence": told})
        spiking.save(out, card, learner.exported()[1])
    for checkpoint in out.glob("*.checkpoint.npz"):
        checkpoint.unlink()
    return card


_Made = tuple[Trained, ClassifierTraining, tuple[Any, Any], tuple[Any, Any], str]
"""(network, its configuration, sums of test and calibration, their classes, what was tested)."""


def _held_out(
    config: ClassifierTraining, data: Data, out: Path, progress: Progress, pool: ThreadPoolExecutor
) -> _Made:
    part = data.number % 5
    learned = (
        np.flatnonzero(part >= 2) if len(data.number) >= 5 * len(data.labels) else np.flatnonzero(part != 0)
    )
    calibration = np.flatnonzero(part == 1)
    chosen = _tuned(config, data, learned, out, progress, pool, "")
    learner = fit(chosen, data, learned, out / "fit.checkpoint.npz", progress, pool)
    network = _network(chosen, data, learner, learned)
    tested = np.flatnonzero(part == 0)
    sums = tuple(
        outputs(network, [data.recordings[i] for i in which], pool) for which in (tested, calibration)
    )
    truth = data.truth[tested], data.truth[calibration]
    return (
        learner,
        chosen,
        (sums[0], sums[1]),
        truth,
        f"{len(tested)} recordings held out, a fifth of each label",
    )


def _crossed(
    config: ClassifierTraining, data: Data, out: Path, progress: Progress, pool: ThreadPoolExecutor
) -> _Made:
    folds, total = config.folds, len(data.recordings)
    sums = np.zeros((total, config.steps, len(data.labels)), np.float32)
    votes: list[str] = []
    for fold in range(folds):
        tested = np.flatnonzero(data.number % folds == fold)
        learned = np.flatnonzero(data.number % folds != fold)
        kept = out / f"fold{fold}.checkpoint.npz"

        def told(share: float, text: str, fold: int = fold) -> None:
            progress((fold + share) / (folds + 1), f"fold {fold + 1} of {folds}: {text}")

        chosen = _tuned(config, data, learned, out, told, pool, f"fold{fold}-")
        learner = fit(chosen, data, learned, kept, told, pool)
        votes.append(chosen.model_dump_json())
        part = outputs(_network(chosen, data, learner, learned), [data.recordings[i] for i in tested], pool)
        sums[tested, : part.shape[1]] = part
        sums[tested, part.shape[1] :] = part[:, -1:]
    final = ClassifierTraining.model_validate_json(max(sorted(set(votes)), key=votes.count))
    everything = np.arange(total)
    learner = fit(
        final, data, everything, out / "fit.checkpoint.npz",
        lambda share, text: progress((folds + share) / (folds + 1), f"all recordings: {text}"), pool,
    )  # fmt: skip
    what = f"{folds}-fold cross-validation over {total} recordings, candidates compared inside each fold"
    return learner, final, (sums, sums), (data.truth, data.truth), what


def _tuned(
    config: ClassifierTraining, data: Data, learned: NDArray[np.int64], out: Path, progress: Progress,
    pool: ThreadPoolExecutor, prefix: str,
) -> ClassifierTraining:  # fmt: skip
    """The candidate that is best on a fourth of what may be learned from."""
    plain = config.model_copy(update={"tune": ()})
    if not config.tune:
        return plain
    place = np.zeros(len(data.recordings), np.int64)
    for label in range(len(data.labels)):
        mine = learned[data.truth[learned] == label]
        place[mine] = np.arange(len(mine))
    inner, held = learned[place[learned] % 4 != 0], learned[place[learned] % 4 == 0]
    best, right = plain, -1.0
    for i, change in enumerate(config.tune):
        candidate = ClassifierTraining.model_validate({**plain.model_dump(), **change})
        quick = candidate.model_copy(update={"epochs": max(1, candidate.epochs // 3)})
        kept = out / f"{prefix}candidate{i}.checkpoint.npz"

        def told(share: float, text: str, i: int = i) -> None:
            progress(0.5 * (i + share) / len(config.tune), f"candidate {i + 1}: {text}")

        learner = fit(quick, data, inner, kept, told, pool)
        sums = outputs(_network(quick, data, learner, inner), [data.recordings[j] for j in held], pool)
        accuracy = float((sums[:, -1].argmax(axis=1) == data.truth[held]).mean())
        if accuracy > right:
            best, right = candidate, accuracy
    return best


def fit(
    config: ClassifierTraining, data: Data, learned: NDArray[np.int64], checkpoint: Path, progress: Progress,
    pool: ThreadPoolExecutor,
) -> Trained:  # fmt: skip
    """A network that learned from some of the recordings; goes on from ``checkpoint`` where there is one."""
    if config.method in {"reservoir", "stdp"}:
        return _shallow(config, data, learned, progress)
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


def _shallow(
    config: ClassifierTraining, data: Data, learned: NDArray[np.int64], progress: Progress
) -> Shallow:
    how = config.encoding(data.width, data.height)
    spikes = [encoded(data.recordings[i].events, how) for i in learned]
    shape = (config.polarities, data.height, data.width)
    truth, classes = data.truth[learned], len(data.labels)
    if config.method == "reservoir":
        made = shallow.with_reservoir(spikes, truth, shape, classes, config.reservoir, config.seed, progress)
    else:
        made = shallow.with_stdp(spikes, truth, shape, classes, config.stdp, config.seed, progress)
    return Shallow(*made)


def outputs(network: Network, recordings: Sequence[Recording], pool: ThreadPoolExecutor) -> F32:
    """S of each recording, [recording, step, class], by the kernels that run on streams."""
    return np.array(list(pool.map(partial(_sums, network), [one.events for one in recordings])), np.float32)


def encoded(events: Events, how: Encoding) -> Spikes:
    """The first ``steps`` steps of a recording, empty where it is shorter."""
    steps = how.steps or 1
    encoder = encoding.new_encoder(how.width * how.height * how.polarities)
    if how.step_us is not None:
        step_us = how.step_us
        first = int(events[0][0]) // step_us if len(events[0]) else 0
        got = encoding.by_time(*events, encoder, how.width, how.polarities, how.most, step_us, first + steps)
        spikes = got.spikes
    else:
        got = encoding.by_count(*events, encoder, how.width, how.polarities, how.most, how.step_events or 1)
        spikes = spiking.joined([got.spikes, encoding.close(encoder, how.most)])
    return _exactly(spikes, steps)


def _exactly(spikes: Spikes, steps: int) -> Spikes:
    offsets = spikes.offsets[: steps + 1]
    offsets = np.concatenate([offsets, np.full(steps + 1 - len(offsets), offsets[-1])])
    return Spikes(offsets, spikes.index[: offsets[-1]], spikes.value[: offsets[-1]])


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
    parts = [part for part in np.array_split(which, _SHARDS) if len(part)]
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


def _network(config: ClassifierTraining, data: Data, learner: Trained, learned: NDArray[np.int64]) -> Network:
    if config.neuron.kind == "relu" and isinstance(learner, SpikingLearner):
        card, tensors = _delta(config, config, data, learner, learned, {})
        return DeltaNetwork.of(card.model_dump(), tensors, "")
    _, tensors = learner.exported()
    return SpikingNetwork.of(_card(config, config, data, learner, {}).model_dump(), tensors, "")


def _card(
    config: ClassifierTraining, chosen: ClassifierTraining, data: Data, learner: Trained,
    accuracy: dict[str, Any],
) -> SpikingCard:  # fmt: skip
    layers, _ = learner.exported()
    return SpikingCard(
        name=config.name, version="1.0.0", labels=tuple(MotifLabel(name=name) for name in data.labels),
        input=(config.polarities, data.height, data.width), layers=layers,
        encoding=chosen.encoding(data.width, data.height), accuracy=accuracy,
        provenance={
            "command": f"polychrony train classifier RECORDINGS --name {config.name}",
            "config": chosen.model_dump(mode="json", exclude={"recordings"}), "recordings": len(data.recordings),
            "method": _METHODS[chosen.method],
        },
        licence="weights belong to whoever owns the recordings",
    )  # fmt: skip


def _delta(
    config: ClassifierTraining, chosen: ClassifierTraining, data: Data, learner: SpikingLearner,
    learned: NDArray[np.int64], accuracy: dict[str, Any],
) -> tuple[DeltaCard, Tensors]:  # fmt: skip
    """A Delta network, its steps calibrated on some of the recordings that it learned from."""
    layers, tensors = learner.exported_delta()
    plain = _card(config, chosen, data, learner, accuracy)
    how = chosen.encoding(data.width, data.height)
    card = DeltaCard(
        **{name: getattr(plain, name) for name in ("name", "version", "labels", "accuracy", "provenance", "licence")},
        input=(how.polarities, data.height, data.width), input_step=INPUT_STEP, input_top=how.most, layers=layers,
        encoding=how,
    )  # fmt: skip
    frames: list[F32] = []
    truth: list[int] = []
    for i in learned[:: max(1, len(learned) // 40)]:
        counts = dense(encoded(data.recordings[i].events, how), int(np.prod(card.input)))
        frames += list(windowed(counts, chosen.window_steps, how.most))
        truth += [int(data.truth[i])] * len(counts)
    card = steps.calibrate(
        card, tensors, frames, chosen.loss_by_steps, lambda _share, _text: None, np.array(truth)
    )
    return card, tensors


def windowed(counts: F32, window: int, most: int) -> F32:
    """Sums over the last ``window`` steps of [step, input], at most ``most``: a Delta network's input."""
    total = np.cumsum(counts, axis=0)
    total[window:] -= total[:-window].copy()
    return np.minimum(total, np.float32(most)).astype(np.float32)


def _accuracy(
    sums: tuple[Any, Any], truth: tuple[Any, Any], labels: tuple[str, ...], what: str
) -> dict[str, Any]:
    answers = sums[0].argmax(axis=2)
    right = answers == truth[0][:, None]
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth[0], answers[:, -1]), 1)
    return {
        "what": what, "class": round(float(right[:, -1].mean()), 4),
        "by_step": [round(float(one), 4) for one in right.mean(axis=0)], "confusion": confusion.tolist(),
    }  # fmt: skip


def _save(path: Path, learner: SpikingLearner, seen: str, epoch: int) -> None:
    """By rename, so that a checkpoint is whole or not there."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **learner.snapshot(), seen=np.array(seen), epoch=np.array([epoch]))
    part = path.with_suffix(".part")
    part.write_bytes(buffer.getbuffer())
    part.replace(path)


def _load(path: Path, learner: SpikingLearner, seen: str) -> int:
    """How many epochs are done."""
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["seen"]) != seen:
            raise CannotResume(f"{path}: of another training; remove it, or choose another folder")
        learner.restore(dict(saved))
        return int(saved["epoch"][0])
