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

from kernels._lanes import padded
from kernels.columns import F32
from kernels.networks import synapses
from kernels.networks.delta import ADDITIONS, SENT
from kernels.networks.synapses import scatter
from pipeline import cost, packets
from pipeline import video_inference as video
from pipeline.models.bundle import ModelError, Tensors
from pipeline.models.delta import DeltaCard, DeltaLayerCard, DeltaNetwork, DeltaRun, connection
from pipeline.models.inputs import encoded
from pipeline.models.spiking import Side, dense, grid
from pipeline.sources import open_source

Frames = Sequence[F32]
"""Input levels [neuron] in the order (y, x, channel), one after the other in time."""
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


def floats(card: DeltaCard, tensors: Tensors, frames: Frames) -> tuple[F32, list[float]]:
    """(answers [frame, output] of the network in floats, the largest magnitude of each layer's outputs)."""
    layers = _float_layers(card, tensors)
    ranges = [0.0] * len(card.layers)
    answers: list[F32] = []
    for frame in frames:
        values = frame * np.float32(card.input_step)
        for i, (one, run) in enumerate(zip(card.layers, layers, strict=True)):
            values = run(values)
            if one.relu:
                values = np.maximum(values, 0)
            ranges[i] = max(ranges[i], float(np.abs(values).max(initial=0)))
        answers.append(values)
    return np.array(answers, np.float32), ranges


def _float_layers(card: DeltaCard, tensors: Tensors) -> list[Callable[[F32], F32]]:
    sides = [card.input, *(one.shape for one in card.layers)]
    return [_float_layer(one, source, tensors) for source, one in zip(sides, card.layers, strict=False)]


def _float_layer(card: DeltaLayerCard, source: Side, tensors: Tensors) -> Callable[[F32], F32]:
    if card.op == "max_pool":
        return lambda values: _highest(values, card, source)
    made = connection(card, source, tensors)
    target = grid(card.shape)
    laid = synapses.synapses([made], target)
    lanes = padded(target.channels)
    bias = np.zeros(lanes, np.float32)
    bias[: target.channels] = tensors.get(f"{card.name}/bias", 0.0)
    share = np.float32(1 / (card.size[0] * card.size[1]) if card.op == "average_pool" else 1.0)
    none = np.zeros(1, np.uint64)

    def run(values: F32) -> F32:
        z = np.tile(bias, target.sites)
        index = np.flatnonzero(values).astype(np.int32)
        scatter(
            index, values[index] * share, 0, len(index), 0, laid.geometry, laid.table, laid.reach, laid.width, lanes,
            False, z, none, np.zeros(1, np.int64),
        )  # fmt: skip
        return np.ascontiguousarray(z.reshape(-1, lanes)[:, : target.channels]).reshape(-1)

    return run


def _highest(values: F32, card: DeltaLayerCard, source: Side) -> F32:
    channels, height, width = source
    image = np.full((height + 2 * card.pad[0], width + 2 * card.pad[1], channels), -np.inf, np.float32)
    image[card.pad[0] : card.pad[0] + height, card.pad[1] : card.pad[1] + width] = values.reshape(
        height, width, channels
    )
    windows = np.lib.stride_tricks.sliding_window_view(image, card.size, axis=(0, 1))
    return windows[:: card.stride[0], :: card.stride[1]].max(axis=(3, 4)).reshape(-1)


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
