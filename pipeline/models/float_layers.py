"""A Delta network in floats, without steps: what its answers are compared with, and how far its outputs reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kernels._lanes import padded
from kernels.columns import F32
from kernels.networks import synapses
from kernels.networks.synapses import scatter
from pipeline.models.bundle import Tensors
from pipeline.models.delta import DeltaCard, DeltaLayerCard, connection
from pipeline.models.spiking import Side, grid

Frames = Sequence[F32]
"""Input levels [neuron] in the order (y, x, channel), one after the other in time."""


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
