"""A Delta network: layers one behind the other that compute only what changed, in whole numbers.

The bundle holds weights as floats and, for each layer, the step q of its outputs. How they become whole
numbers is decided here alone, so the same bundle gives the same integers everywhere: a channel's weight step
is its largest weight / 127, larger where sums could otherwise reach 2^24.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernels._lanes import padded
from kernels.columns import F32
from kernels.networks import delta, synapses
from kernels.networks.delta import Layer, MaxPool, PoolState, State
from kernels.networks.synapses import Connection, Spikes
from pipeline.models import bundle
from pipeline.models.bundle import Card, Tensors
from pipeline.models.spiking import Encoding, Pair, Side, check_encoding, grid

_MAX_NEURONS = 2**24


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeltaLayerCard(_Part):
    """A layer; it reads the one before. Its tensors are ``name/weight`` and ``name/bias``."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")
    op: Literal["conv2d", "dense", "max_pool", "average_pool"]
    shape: Side
    size: Pair = Field(default=(1, 1), description="of the window, of pooling")
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = Field(default=1, ge=1)
    relu: bool = False
    step: float = Field(default=0.1, gt=0, description="q: of its outputs; of the last layer without meaning")
    top: int = Field(default=255, ge=1, le=65535, description="the highest level")
    threshold: int = Field(default=1, ge=1, le=65535, description="changes of fewer levels wait")
    carry: bool = Field(default=False, description="changes are sent in whole thresholds")


class DeltaCard(Card):
    """``model.json`` of a Delta network."""

    kind: Literal["delta_network"] = "delta_network"  # pyright: ignore[reportIncompatibleVariableOverride]
    input: Side = Field(description="(channels, height, width) of what comes in")
    input_step: float = Field(default=1.0, gt=0, description="q of the input")
    input_top: int = Field(
        default=255, ge=1, le=65535, description="its highest level; lower ones than minus this too"
    )
    layers: tuple[DeltaLayerCard, ...] = Field(min_length=1, max_length=256)
    encoding: Encoding | None = Field(default=None, description="how events become input")
    weight_top: int = Field(
        default=127, ge=1, le=32767, description="whole number of a channel's largest weight"
    )
    calibration: dict[str, Any] = Field(default_factory=dict, description="what the steps were chosen on")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_encoding(self.encoding, self.input, repeated=True)
        return self


@dataclass(frozen=True, eq=False)
class DeltaNetwork:
    """A network that is ready to run; read-only and shared between streams.

    Attributes:
        card: what ``model.json`` says.
        layers: whole numbers, in order.
        scale: [class] of an answer: its sum times this.
        tensors: as in the bundle.
        digest: SHA-256 over the card and the weights.
    """

    card: DeltaCard
    layers: tuple[Layer | MaxPool, ...]
    scale: F32
    tensors: Tensors = field(repr=False)
    digest: str = ""

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeltaNetwork) and other.digest == self.digest

    @classmethod
    def of(cls, document: dict[str, Any], tensors: Tensors, digest: str) -> DeltaNetwork:
        """A network from what :func:`pipeline.models.bundle.read` gives.

        Raises:
            ValueError: it is none, with what is wrong.
        """
        card = DeltaCard.model_validate(document)
        sides = [card.input, *(layer.shape for layer in card.layers)]
        if any(min(side) < 1 for side in sides) or sum(c * h * w for c, h, w in sides) > _MAX_NEURONS:
            raise ValueError(f"shapes: sides are at least 1, neurons at most {_MAX_NEURONS}")
        if card.layers[-1].op not in {"conv2d", "dense"}:
            raise ValueError(f"the last layer is a {card.layers[-1].op}; allowed are conv2d and dense")
        layers: list[Layer | MaxPool] = []
        step, top, scale = card.input_step, card.input_top, np.ones(1, np.float32)
        for source, one in zip(sides, card.layers, strict=False):
            try:
                made, scale = _layer(one, source, step, top, card.weight_top, tensors)
            except (ValueError, KeyError) as problem:
                raise ValueError(f"layer {one.name}: {problem}") from problem
            layers.append(made)
            if one.op != "max_pool":
                step, top = one.step, one.top
        outputs = int(np.prod(card.layers[-1].shape))
        if len(card.labels) not in {outputs, card.layers[-1].shape[0]}:
            raise ValueError(f"{len(card.labels)} labels for {outputs} outputs")
        return cls(card, tuple(layers), scale, tensors, digest)


def save(folder: Path, card: DeltaCard, tensors: Tensors) -> None:
    """Write a network's bundle."""
    bundle.save(folder, card, tensors)


class DeltaRun:
    """A network on one stream.

    Attributes:
        states: of each layer.
        steps: done so far.
    """

    def __init__(self, network: DeltaNetwork) -> None:
        self._network = network
        self.states: list[State | PoolState] = [
            delta.new_state(layer) if isinstance(layer, Layer) else delta.new_pool_state(layer)
            for layer in network.layers
        ]
        self._input = np.zeros(grid(network.card.input).size, np.float32)
        self.steps = 0

    def step(self, levels: F32) -> F32:
        """Answers to an input given whole: [neuron] levels in the order (y, x, channel), within the card's top."""
        moved = delta.changes(levels, self._input)
        self._input[:] = levels
        return self.advance(moved)[0]

    def advance(self, arriving: Spikes) -> F32:
        """Answers [step, output] after each step of changes of input levels."""
        last = self._network.layers[-1]
        out: list[F32] = []
        for k in range(arriving.steps):
            a, b = arriving.offsets[k], arriving.offsets[k + 1]
            moved = Spikes(np.array([0, b - a], np.int64), arriving.index[a:b], arriving.value[a:b])
            for layer, state in zip(self._network.layers[:-1], self.states, strict=False):
                if isinstance(layer, Layer) and isinstance(state, State):
                    moved = delta.advance(layer, state, moved)
                elif isinstance(layer, MaxPool) and isinstance(state, PoolState):
                    moved = delta.advance_pool(layer, state, moved)
            state = self.states[-1]
            if isinstance(last, Layer) and isinstance(state, State):
                delta.accumulate(last, state, moved)
            out.append(self.answers())
        self.steps += arriving.steps
        return np.array(out, np.float32).reshape(len(out), -1)

    def answers(self) -> F32:
        """The sums of the last layer as real numbers, in the order (y, x, channel)."""
        last, state = self._network.layers[-1], self.states[-1]
        channels = last.synapses.channels if isinstance(last, Layer) else 1
        z = state.z[:, :channels] if isinstance(state, State) else np.zeros((1, 1), np.float32)
        return (z * self._network.scale).reshape(-1).astype(np.float32)

    def forget(self) -> None:
        """Back to the start, but for the counts."""
        self._input[:] = 0
        for layer, state in zip(self._network.layers, self.states, strict=True):
            if isinstance(layer, Layer) and isinstance(state, State):
                delta.forget(layer, state)
            elif isinstance(state, PoolState):
                for array in state[:-1]:
                    array[:] = 0

    def snapshot(self) -> dict[str, Any]:
        """All state, as arrays that are not changed later."""
        arrays = {
            f"{i}/{part}": array.copy()
            for i, state in enumerate(self.states) for part, array in state._asdict().items()
        }  # fmt: skip
        return {**arrays, "input": self._input.copy(), "steps": np.array([self.steps])}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for i, state in enumerate(self.states):
            for part, array in state._asdict().items():
                array[:] = arrays[f"{i}/{part}"]
        self._input[:], self.steps = arrays["input"], int(arrays["steps"][0])


def connection(card: DeltaLayerCard, source: Side, tensors: Tensors) -> Connection:
    """A layer's weights as floats.

    Raises:
        ValueError: they do not fit.
    """
    from_grid = grid(source)
    if card.op == "average_pool":
        return synapses.pooling(from_grid, card.size, card.stride, card.pad)
    weight = np.asarray(tensors[f"{card.name}/weight"], np.float32)
    if not np.isfinite(weight).all():
        raise ValueError("weights that are no numbers")
    if card.op == "dense":
        if weight.ndim != 2 or weight.shape != (card.shape[0], from_grid.size) or card.shape[1:] != (1, 1):
            raise ValueError(f"weight {weight.shape} does not lead from {from_grid.size} to {card.shape}")
        # A tap for each site of the input: it is read where it lies.
        laid = weight.reshape(-1, from_grid.channels, from_grid.height, from_grid.width).transpose(2, 3, 1, 0)
        return Connection(from_grid, np.ascontiguousarray(laid))
    if weight.ndim != 4 or weight.shape[0] != card.shape[0] or weight.shape[1] * card.groups != source[0]:
        raise ValueError(
            f"weight {weight.shape} in {card.groups} groups does not lead from {source} to {card.shape}"
        )
    return synapses.convolution(weight, from_grid, card.stride, card.pad, card.dilation, card.groups)


def _layer(
    card: DeltaLayerCard, source: Side, step: float, top: int, weight_top: int, tensors: Tensors
) -> tuple[Layer | MaxPool, F32]:
    """(the layer in whole numbers, what its sums are to be multiplied with)."""
    target = grid(card.shape)
    if card.op == "max_pool":
        _check_shape(card, source, card.size)
        return MaxPool(grid(source), target, card.size, card.stride, card.pad), np.ones(1, np.float32)
    made = connection(card, source, tensors)
    if card.op != "dense":
        _check_shape(card, source, (made.weight.shape[0], made.weight.shape[1]))
    if card.op == "average_pool":
        weight_step = np.full(card.shape[0], 1 / (card.size[0] * card.size[1]))
        whole, bias = made.weight, np.zeros(card.shape[0])
    else:
        bias = np.asarray(tensors.get(f"{card.name}/bias", np.zeros(card.shape[0])), np.float64)
        if bias.shape != (card.shape[0],) or not np.isfinite(bias).all():
            raise ValueError(f"bias {bias.shape} for {card.shape[0]} channels")
        weight_step, whole, bias = _whole(made, bias, step, top, weight_top)
    laid = Connection(made.source, whole, made.stride, made.pad, made.dilation, made.groups)
    lanes = padded(target.channels)
    scale = (weight_step * step).astype(np.float32)
    multiplier, whole_bias = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    multiplier[: target.channels] = scale / np.float32(card.step)
    whole_bias[: target.channels] = bias
    layer = Layer(
        synapses.synapses([laid], target), whole_bias, multiplier, 0.0 if card.relu else -float(card.top),
        float(card.top), card.threshold, card.carry,
    )  # fmt: skip
    return layer, scale


def _whole(made: Connection, bias: Any, step: float, top: int, weight_top: int) -> tuple[Any, F32, Any]:
    """(weight step [channel], whole weights, whole biases): sums stay below 2^24 whatever arrives."""
    groups, per_group = made.groups, made.weight.shape[3]
    weight = made.weight.astype(np.float64)
    # [.., in, out / groups] with the inputs of all groups: an output channel's weights lie in its group's inputs.
    taps_y, taps_x, inner, _ = weight.shape
    by_group = weight.reshape(taps_y, taps_x, groups, inner // groups, per_group)
    largest = np.abs(by_group).max(axis=(0, 1, 3)).reshape(-1)
    total = np.abs(by_group).sum(axis=(0, 1, 3)).reshape(-1)
    weight_step = np.maximum(largest / weight_top, 1e-12)
    for _ in range(64):
        rounding = 0.5 * taps_y * taps_x * inner / groups  # what rounding can add to a sum of weights
        sums = (total / weight_step + rounding) * top + np.abs(bias) / (weight_step * step) + 1
        over = sums >= delta.EXACT_BELOW
        if not over.any():
            break
        weight_step = np.where(
            over, weight_step * np.maximum(sums / (delta.EXACT_BELOW * 0.99), 1.01), weight_step
        )
    else:
        raise ValueError(
            f"sums of {inner * taps_y * taps_x} inputs of up to {top} levels cannot be held exactly"
        )
    steps = weight_step.reshape(1, 1, groups, 1, per_group)
    whole = np.rint(by_group / steps).reshape(weight.shape).astype(np.float32)
    return weight_step, whole, np.rint(bias / (weight_step * step))


def _check_shape(card: DeltaLayerCard, source: Side, size: Pair) -> None:
    expected = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, p, d, k, s in zip(source[1:], card.pad, card.dilation, size, card.stride, strict=True)
    ]
    if expected != list(card.shape[1:]):
        raise ValueError(f"shape {card.shape[1:]}, but {card.op} gives {tuple(expected)}")
