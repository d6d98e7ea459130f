"""The steps q of a Delta network, as coarse as its answers allow: coarser levels change less often.

The network is run on real input twice, with floats and with levels. A frame agrees where both give the same
label, or, of a network of one output, where the output differs by less than a fiftieth of its range.
First all steps grow together as long as enough frames agree, then each by itself, from the layer whose
changes cost most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.columns import F32
from kernels.networks.delta import ADDITIONS, SENT
from pipeline import packets
from pipeline import video_inference as video
from pipeline.models import cost
from pipeline.models.bundle import ModelError, Tensors
from pipeline.models.delta import DeltaCard, DeltaNetwork, DeltaRun
from pipeline.models.float_layers import Frames, floats
from pipeline.models.inputs import encoded
from pipeline.models.spiking import dense
from pipeline.sources import open_source

Progress = Callable[[float, str], None]

_GROWTH = 1.5
_FINEST = 64
"""Levels of the range that a layer's outputs have, at first."""


def calibrate(
    card: DeltaCard, tensors: Tensors, frames: Frames, loss: float, progress: Progress,
    truth: NDArray[np.int64] | None = None,
) -> DeltaCard:  # fmt: skip
    """The card with steps chosen on ``frames``, and what that gained.

    Args:
        card: of the network, whatever its steps.
        tensors: its weights.
        frames: real input, in order of time; the second half checks what the first half decided.
        loss: share of the frames whose answer may change; with ``truth``, how much accuracy may be lost.
        progress: told how far it is.
        truth: the class of each frame, where it is known.
    """
    half = max(1, len(frames) // 2)
    fit, check = frames[:half], frames[half:] or frames
    answers, ranges = floats(card, tensors, fit)
    right = _Right(answers, None if truth is None else truth[:half])
    fine = _with(card, [max(r, 1e-6) / _FINEST for r in ranges], ranges)
    best, factor = fine, 1.0
    for i in range(24):
        factor *= _GROWTH
        trial = _scaled(fine, [factor] * len(card.layers), ranges)
        if right.lost(_run(trial, tensors, fit)[0]) > loss:
            break
        best = trial
        progress(0.5 * (i + 1) / 24, f"all steps x {factor:.0f}")
    spent = _run(best, tensors, fit)[1]
    order = np.argsort([-one for one in spent])
    for done, layer in enumerate(order):
        for _ in range(6):
            factors = [_GROWTH if i == layer else 1.0 for i in range(len(card.layers))]
            trial = _scaled(best, factors, ranges)
            if right.lost(_run(trial, tensors, fit)[0]) > loss:
                break
            best = trial
        progress(0.5 + 0.5 * (done + 1) / len(order), f"layer {card.layers[layer].name}")
    checked, _ = floats(card, tensors, check)
    found, additions = _run(best, tensors, check)
    lost = _Right(checked, None if truth is None else truth[half:]).lost(found)
    _, before = _run(fine, tensors, check)
    return best.model_copy(
        update={
            "calibration": {
                "frames": len(frames),
                "allowed_loss": loss,
                "lost_on_second_half": round(lost, 4),
                "additions_a_frame": round(sum(additions) / len(check)),
                "additions_a_frame_finest": round(sum(before) / len(check)),
                "dense_macs_a_frame": sum(cost.delta_macs(DeltaNetwork.of(best.model_dump(), tensors, ""))),
            }
        }
    )


def inputs(source: Path, card: DeltaCard, most: int) -> list[F32]:
    """Input levels of up to ``most`` steps of a recording, or of frames of a video where the network reads those.

    Raises:
        SourceError: it cannot be read.
        ModelError: the network cannot read it.
    """
    how = card.encoding
    if how is None:
        return list(video.levels(source, card, most))
    opened = open_source(source)
    sensor = opened.info.sensor
    if (sensor.width, sensor.height) != (how.width, how.height):
        raise ModelError(f"{source.name}: {sensor}, and {card.name} reads {how.width}x{how.height}")
    columns = packets.join([reading.events for reading in opened.batches()])
    if card.input[0] != how.polarities:
        raise ModelError(f"{card.name} reads a voxel grid; calibrate it on histograms of as many channels")
    spikes = encoded(columns, how.model_copy(update={"steps": most}))
    counts = dense(spikes, int(np.prod(card.input)))
    return [np.minimum(one, np.float32(card.input_top)) for one in counts]


class _Right:
    """How much worse answers are than those of floats."""

    def __init__(self, answers: F32, truth: NDArray[np.int64] | None) -> None:
        self._answers, self._truth = answers, truth

    def lost(self, found: F32) -> float:
        """Share of the frames that changed, or of the accuracy that is gone."""
        answers = self._answers
        if answers.shape[1] == 1:
            spread = float(answers.max() - answers.min()) or 1.0
            return float((np.abs(found - answers) > 0.02 * spread).mean())
        if self._truth is None:
            return float((found.argmax(axis=1) != answers.argmax(axis=1)).mean())
        before, after = (float((one.argmax(axis=1) == self._truth).mean()) for one in (answers, found))
        return before - after


def _run(card: DeltaCard, tensors: Tensors, frames: Frames) -> tuple[F32, list[int]]:
    """(answers [frame, output], additions of each layer)."""
    run = DeltaRun(DeltaNetwork.of(card.model_dump(), tensors, ""))
    found = np.array([run.step(frame) for frame in frames])
    return found, [int(state.counts[ADDITIONS]) for state in run.states]


def sparsity(run: DeltaRun, card: DeltaCard) -> list[float]:
    """Of each layer, the share of its neurons that sent no change in a step."""
    sizes = [int(np.prod(one.shape)) for one in card.layers]
    return [
        1 - int(state.counts[SENT]) / (size * max(run.steps, 1))
        for state, size in zip(run.states, sizes, strict=True)
    ]


def _with(card: DeltaCard, steps: Sequence[float], ranges: Sequence[float]) -> DeltaCard:
    """Steps, and as many levels as outputs need: the fewer there are, the finer weights may be."""
    layers = tuple(
        one.model_copy(update={"step": float(step), "top": min(max(math.ceil(1.25 * reach / step), 1), 255)})
        for one, step, reach in zip(card.layers, steps, ranges, strict=True)
    )
    return card.model_copy(update={"layers": layers})


def _scaled(card: DeltaCard, factors: Sequence[float], ranges: Sequence[float]) -> DeltaCard:
    steps = [one.step * factor for one, factor in zip(card.layers, factors, strict=True)]
    return _with(card, steps, ranges)
