"""Training a classifier on labelled recordings, resumable, with figures from recordings it never saw.

Either a fifth of each label's recordings is held out for the test and another for calibration, or all are used:
each fold is tested, and calibrated on, by a network that learned from the others, and the bundle holds one that
learned from all. Candidates are compared inside each fold, on a part of what it may learn from.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.columns import F32
from pipeline.models import confidence, delta, spiking
from pipeline.models.bundle import MotifLabel, Tensors
from pipeline.models.delta import DeltaCard, DeltaNetwork
from pipeline.models.inputs import encoded, windowed
from pipeline.models.spiking import LayerCard, SpikingCard, SpikingNetwork, dense
from pipeline.training.classifiers import quantisation, shallow
from pipeline.training.classifiers.fitting import Data, Network, Progress, TooFew, fit, outputs
from pipeline.training.classifiers.plan import INPUT_STEP, PRESETS, ClassifierTraining
from pipeline.training.classifiers.spiking import SpikingLearner

__all__ = ["PRESETS", "ClassifierTraining", "Data", "TooFew", "fit", "outputs", "train"]

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
    learner = _learned(chosen, data, learned, out / "fit.checkpoint.npz", progress, pool)
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
        learner = _learned(chosen, data, learned, kept, told, pool)
        votes.append(chosen.model_dump_json())
        part = outputs(_network(chosen, data, learner, learned), [data.recordings[i] for i in tested], pool)
        sums[tested, : part.shape[1]] = part
        sums[tested, part.shape[1] :] = part[:, -1:]
    final = ClassifierTraining.model_validate_json(max(sorted(set(votes)), key=votes.count))
    everything = np.arange(total)
    learner = _learned(
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

        learner = _learned(quick, data, inner, kept, told, pool)
        sums = outputs(_network(quick, data, learner, inner), [data.recordings[j] for j in held], pool)
        accuracy = float((sums[:, -1].argmax(axis=1) == data.truth[held]).mean())
        if accuracy > right:
            best, right = candidate, accuracy
    return best


def _learned(
    config: ClassifierTraining, data: Data, learned: NDArray[np.int64], checkpoint: Path, progress: Progress,
    pool: ThreadPoolExecutor,
) -> Trained:  # fmt: skip
    """What one of the methods makes of some recordings."""
    if config.method in {"reservoir", "stdp"}:
        return _shallow(config, data, learned, progress)
    return fit(config, data, learned, checkpoint, progress, pool)


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
            "command": f"polychrony train classifier {Path(config.recordings).name} {_options(config)}",
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
    card = quantisation.calibrate(
        card, tensors, frames, chosen.loss_by_steps, lambda _share, _text: None, np.array(truth)
    )
    return card, tensors


def _options(config: ClassifierTraining) -> str:
    """The preset that the training came from, or its name."""
    for name, changes in PRESETS.items():
        if (
            changes
            and ClassifierTraining.model_validate({**changes, "recordings": config.recordings}) == config
        ):
            return f"--preset {name}"
    return f"--name {config.name}"


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
