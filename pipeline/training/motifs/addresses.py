"""Training a bank on addresses from labelled recordings, with a weight for every delay or with learned delays.

A label is of a whole recording, but a motif is there in few of its bins. So the scores s of several bins b of a
recording are pooled, S = log mean over b of exp s: the surest bin decides, and learns most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kernels.columns import F32, I64
from kernels.learning import regression
from kernels.learning.regression import Inputs
from kernels.motifs import coincidence
from pipeline.errors import UserError
from pipeline.models import motif_bank
from pipeline.models.address_bank import AddressCard
from pipeline.models.bundle import MotifLabel
from pipeline.packets import Events
from pipeline.training.labelled import HELD_OUT, TRAIN, VALIDATION, Recording, by_label
from pipeline.training.motifs.delays import DelayLearner, TapLearner

Progress = Callable[[int, int, float, float], None]
"""Called with (step, steps, loss, share of the recordings that were right)."""


class AddressTraining(BaseModel):
    """A training; the same configuration and recordings make the same bank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "addresses"
    recordings: str = Field(description="folder of recordings, a folder a label")
    address: Literal["x", "y", "pixel", "pixel_polarity"] = "pixel_polarity"
    method: Literal["taps", "delays"] = Field(
        default="delays", description="a weight for every delay, or one delay a synapse, learned"
    )
    competition: Literal["softmax", "sigmoid"] = "softmax"
    delays: int = Field(default=31, ge=1, le=64)
    bin_us: int = Field(default=1000, ge=1)
    largest: int = Field(default=1023, ge=1, le=32767, description="integer that the largest weight becomes")
    steps: int = Field(default=600, ge=1)
    examples: int = Field(default=24, ge=1, description="recordings a step")
    bins: int = Field(default=24, ge=1, description="bins that are looked at of each")
    rate: float = Field(default=1e-2, gt=0)
    seed: int = 1


class OtherSensor(UserError):
    """The recordings are of different sensors."""


def train(config: AddressTraining, out: Path, progress: Progress) -> AddressCard:
    """Train a bank, quantise it, test it on held-out recordings, and write its bundle to ``out``.

    Raises:
        NoRecordings: the folder does not hold what it should.
        OtherSensor: recordings have different sensors.
    """
    found = by_label(Path(config.recordings))
    card = _card(config, found)
    rng = np.random.default_rng(config.seed)
    kind = DelayLearner if config.method == "delays" else TapLearner
    learner = kind(card.addresses, config.delays, len(found), config.steps, rng)
    bias, moments = np.zeros(len(found), np.float32), [np.zeros(len(found), np.float32) for _ in range(2)]
    slope = np.empty((card.addresses * config.delays, len(found)), np.float32)
    for step in range(1, config.steps + 1):
        inputs, truth = _batch(config, card, found, rng)
        scores = _scores(inputs, learner.taps(), bias).reshape(config.examples, config.bins, -1)
        pooled, share = _pooled(scores)
        wrong, loss, right = _error(pooled, truth, config.competition)
        error = (wrong[:, None] * share).reshape(-1, len(found)).astype(np.float32)
        regression.gradient(inputs, error, np.zeros(error.shape, np.bool_), slope)
        rate = config.rate * 0.5 * (1 + math.cos(math.pi * step / config.steps)) + config.rate * 0.01
        learner.learn(slope, rate)
        regression.adam(bias, error.sum(axis=0).astype(np.float32), moments[0], moments[1], step, rate)
        progress(step, config.steps, loss, right)
    weight, whole_bias, scale = motif_bank.quantise(learner.bank(), bias, config.largest)
    card = card.model_copy(update={"scale": scale})
    card = card.model_copy(
        update={
            "accuracy": _tested(config, card, found, weight, whole_bias, learner.bank(), bias),
        }
    )
    motif_bank.save(out, card, weight, whole_bias)
    return card


def _card(config: AddressTraining, found: dict[str, dict[str, list[Recording]]]) -> AddressCard:
    sizes = {(one.width, one.height) for split in found.values() for many in split.values() for one in many}
    if len(sizes) > 1:
        raise OtherSensor(f"{config.recordings}: recordings of different sensors: {sorted(sizes)}")
    width, height = sizes.pop()
    return AddressCard(
        name=config.name, version="1.0.0", bin_us=config.bin_us, scale=1.0, competition=config.competition,
        labels=tuple(MotifLabel(name=name) for name in found), address=config.address, width=width, height=height,
        provenance={
            "command": f"polychrony train addresses --recordings DIR --method {config.method}",
            "config": config.model_dump(mode="json"),
            "method": "learned delays, Hammouamri et al., ICLR 2024" if config.method == "delays"
            else "a weight for every delay, Grimaldi & Perrinet, ICANN 2023",
        },
        licence="weights belong to whoever owns the recordings",
    )  # fmt: skip


def _batch(
    config: AddressTraining, card: AddressCard, found: dict[str, dict[str, list[Recording]]],
    rng: np.random.Generator,
) -> tuple[Inputs, I64]:  # fmt: skip
    """Bins that hold events, of random recordings, a label each in turn."""
    names = list(found)
    parts: list[Inputs] = []
    truth = np.arange(config.examples) % len(names)
    for label in truth:
        many = found[names[label]][TRAIN]
        events = many[int(rng.integers(len(many)))].events
        bins = events[0][rng.integers(len(events[0]), size=config.bins)] // config.bin_us
        parts.append(_gathered(config, card, events, np.sort(bins)))
    return regression.join(parts), truth


def _pooled(scores: F32) -> tuple[F32, F32]:
    """log mean exp over the bins of [example, bin, class], and its gradient by them."""
    largest = scores.max(axis=1, keepdims=True)
    share = np.exp(scores - largest)
    total = share.sum(axis=1, keepdims=True)
    return (largest + np.log(total / scores.shape[1]))[:, 0], share / total


def _gathered(config: AddressTraining, card: AddressCard, events: Events, bins: I64) -> Inputs:
    t, x, y, p = events
    return regression.gather_bins(t, card.of_events(x, y, p), bins, config.bin_us, config.delays)


def _scores(inputs: Inputs, taps: F32, bias: F32) -> F32:
    return regression.logits(inputs, taps, bias, False)[0]


def _error(scores: F32, truth: I64, competition: str) -> tuple[F32, float, float]:
    """(gradient by the scores, loss, share right) of the mean cross-entropy, of softmax or of sigmoids."""
    n = len(truth)
    wanted = np.zeros_like(scores)
    wanted[np.arange(n), truth] = 1
    right = float((scores.argmax(axis=1) == truth).mean())
    if competition == "sigmoid":
        share = 1 / (1 + np.exp(-scores))
        loss = float(np.logaddexp(0, np.where(wanted > 0, -scores, scores)).sum(axis=1).mean())
    else:
        share = np.exp(scores - scores.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        loss = float(-np.log(np.maximum(share[wanted > 0], 1e-12)).mean())
    return ((share - wanted) / n).astype(np.float32), loss, right


def _tested(
    config: AddressTraining, card: AddressCard, found: dict[str, dict[str, list[Recording]]],
    weight: F32, whole_bias: F32, floats: F32, bias: F32,
) -> dict[str, Any]:  # fmt: skip
    """Recordings whose class has the largest evidence, pooled over all bins."""
    bank = coincidence.synapses(weight, whole_bias)
    flat = np.ascontiguousarray(floats.transpose(1, 2, 0)).reshape(-1, len(bias))
    seen: dict[str, Any] = {"chance": round(1 / len(found), 4)}
    for split, key in ((HELD_OUT, "class"), (VALIDATION, "validation")):
        answers: list[tuple[int, int, int]] = []
        for label, many in enumerate(found.values()):
            for one in many[split]:
                t, x, y, p = one.events
                past = coincidence.new_arrivals(bank)
                sums = coincidence.advance(
                    t, card.of_events(x, y, p), past, bank, config.bin_us, int(t[-1]) // config.bin_us + 1
                )
                scores = _scores(_gathered(config, card, one.events, sums.bin), flat, bias)
                forms = (sums.evidence * np.float32(card.scale), scores)
                whole, trained = (int(_pooled(form[None])[0].argmax()) for form in forms)
                answers.append((whole, trained, label))
        table = np.array(answers)
        seen[key] = round(float((table[:, 0] == table[:, 2]).mean()), 4)
        if split == HELD_OUT:
            seen |= {
                "what": f"{len(table)} held-out recordings, by the evidence pooled over all bins",
                "quantising": {"recordings_answered_alike": float((table[:, 0] == table[:, 1]).mean())},
            }
    return seen
