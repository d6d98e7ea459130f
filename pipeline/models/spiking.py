"""A spiking network: layers with their synapses and neurons, and the card that says how they were read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from kernels.columns import F32
from kernels.networks import neurons, synapses
from kernels.networks.neurons import COEFFICIENTS, Layer, Model, Reset, State
from kernels.networks.synapses import Connection, Shape, Spikes
from pipeline.models import bundle
from pipeline.models.bundle import Card, Tensors

MOST_DELAY = 1023
"""Steps that a connection may delay what it carries."""
INPUT = "input"
"""The name of what comes in, as a source of connections."""
_MAX_NEURONS, _MAX_LAYERS = 2**24, 256

Pair = tuple[int, int]
Side = tuple[int, int, int]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Encoding(_Part):
    """How events become what arrives in a step: per pixel and polarity, their number in it."""

    width: int = Field(ge=1, le=65536, description="of the sensor, pixels")
    height: int = Field(ge=1, le=32768)
    step_us: int | None = Field(default=None, ge=1, description="a step is a span of time, of this many us")
    step_events: int | None = Field(default=None, ge=1, description="or so many events")
    steps: int | None = Field(default=None, ge=1, description="in a recording; on a stream, in a window")
    most: int = Field(default=1, ge=1, description="counts above this are taken for this; 1: presence")
    polarities: Literal[1, 2] = Field(default=2, description="channels: OFF and ON, or both in one")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.step_us is None) == (self.step_events is None):
            raise ValueError("step_us or step_events: one of them")
        return self


class ConnectionCard(_Part):
    """Where a layer's input comes from. Its tensors are ``layer/number/weight`` and ``.../delay`` (steps)."""

    source: str
    op: Literal["dense", "conv2d", "sum_pool", "average_pool", "one_to_one"]
    size: Pair = Field(default=(1, 1), description="of the window, of pooling")
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = Field(default=1, ge=1)
    recurrent: bool = Field(default=False, description="carries what was sent one step before")

    @field_validator("size", "stride", "dilation")
    @classmethod
    def _positive(cls, value: Pair, info: ValidationInfo) -> Pair:
        if min(value) < 1 or max(value) > 4096:
            raise ValueError(f"{info.field_name}: must be 1 to 4096")
        return value


class NeuronCard(_Part):
    """What the neurons of a layer are; ``layer/decay`` ... are tensors: a number, [channel] or [neuron]."""

    model: Model
    reset: Reset = "none"
    threshold: Literal["gt", "ge"] = Field(default="gt", description="a spike above it, or at it already")
    many: bool = Field(default=False, description="as many spikes a step as thresholds fit in")
    sends_potential: bool = False


class LayerCard(_Part):
    """A layer: (channels, height, width), what arrives, and what becomes of it."""

    name: str = Field(min_length=1, max_length=256)
    shape: Side
    inputs: tuple[ConnectionCard, ...] = Field(min_length=1, max_length=64)
    neuron: NeuronCard


class SpikingCard(Card):
    """``model.json`` of a spiking network."""

    kind: Literal["spiking_network"] = "spiking_network"  # pyright: ignore[reportIncompatibleVariableOverride]
    input: Side = Field(description="(channels, height, width) of what comes in")
    layers: tuple[LayerCard, ...] = Field(min_length=1, max_length=_MAX_LAYERS)
    encoding: Encoding | None = Field(default=None, description="how events become input")
    read_as: dict[str, Any] = Field(
        default_factory=dict,
        description="how an imported graph was read: source, dt, method, reset, threshold",
    )
    confidence: dict[str, Any] = Field(
        default_factory=dict,
        description="temperature, and what the confidence is worth, on held-out recordings",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_encoding(self.encoding, self.input)
        return self


def check_encoding(how: Encoding | None, given: Side, repeated: bool = False) -> None:
    """Whether what an encoding makes is what a network reads.

    Args:
        how: the encoding.
        given: (channels, height, width) of the input.
        repeated: whether there may be the channels of several steps.

    Raises:
        ValueError: it is not.
    """
    if how is None:
        return
    channels, height, width = given
    makes = how.polarities * how.height * how.width
    whole = channels * height * width
    grid = (height, width) in {(how.height, how.width), (1, 1)}
    if not grid or whole % makes or (whole != makes and not repeated):
        raise ValueError(
            f"encoding makes {how.polarities} x {how.height} x {how.width} (channels, rows, columns), the network "
            f"reads {channels} x {height} x {width}"
        )


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """A network that is ready to run; read-only and shared between streams.

    Attributes:
        card: what ``model.json`` says.
        layers: by name, in the order of the card.
        order: names, each behind what it reads, but for recurrent connections.
        tensors: as in the bundle.
        digest: SHA-256 over the card and the weights.
    """

    card: SpikingCard
    layers: dict[str, Layer]
    order: tuple[str, ...]
    tensors: Tensors = field(repr=False)
    digest: str = ""

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpikingNetwork) and other.digest == self.digest

    @property
    def output(self) -> str:
        """The layer that answers: the last of the card."""
        return self.card.layers[-1].name

    @classmethod
    def of(cls, document: dict[str, Any], tensors: Tensors, digest: str) -> SpikingNetwork:
        """A network from what :func:`pipeline.models.bundle.read` gives.

        Raises:
            ValueError: it is none, with what is wrong.
        """
        card = SpikingCard.model_validate(document)
        shapes = {INPUT: card.input, **{layer.name: layer.shape for layer in card.layers}}
        if len(shapes) != len(card.layers) + 1:
            raise ValueError("two layers have one name")
        if any(min(shape) < 1 for shape in shapes.values()):
            raise ValueError("shape: sides are at least 1")
        if sum(c * h * w for c, h, w in shapes.values()) > _MAX_NEURONS:
            raise ValueError(f"more than {_MAX_NEURONS} neurons")
        layers = {one.name: _layer(one, shapes, tensors) for one in card.layers}
        last = card.layers[-1].shape
        if len(card.labels) != last[0] * last[1] * last[2]:
            raise ValueError(f"{len(card.labels)} labels for {last[0] * last[1] * last[2]} outputs")
        return cls(card, layers, _ordered(card), tensors, digest)


def save(folder: Path, card: SpikingCard, tensors: Tensors) -> None:
    """Write a network's bundle."""
    bundle.save(folder, card, tensors)


class Run:
    """A network on one stream: what each layer remembers.

    Args:
        network: what to run.
        lazy: update only where something happens; default: wherever that is possible.
    """

    def __init__(self, network: SpikingNetwork, lazy: bool | None = None) -> None:
        self._network, self._lazy = network, lazy
        self.states: dict[str, State] = {
            name: neurons.new_state(layer) for name, layer in network.layers.items()
        }
        self._inputs = {layer.name: layer.inputs for layer in network.card.layers}
        self._firsts = {
            name: layer.synapses.geometry[:, synapses.FIRST] for name, layer in network.layers.items()
        }
        self._before: dict[str, Spikes] = {}
        self._blocks = _blocks(network)

    def advance(self, arriving: Spikes) -> dict[str, Spikes]:
        """What each layer sends in the steps of ``arriving``; ``input`` is what arrived."""
        sent: dict[str, Spikes] = {INPUT: arriving}
        for names, loops in self._blocks:
            if not loops:
                sent[names[0]] = self._layer(names[0], sent)
                continue
            parts: dict[str, list[Spikes]] = {name: [] for name in names}
            for step in range(arriving.steps):
                now = {name: _step(spikes, step) for name, spikes in sent.items()}
                for name in names:
                    now[name] = self._layer(name, now)
                    parts[name].append(now[name])
                self._before = {name: now[name] for name in names}
            sent |= {name: joined(many) for name, many in parts.items()}
        return sent

    def forget(self) -> None:
        """Back to the start, but for the counts."""
        self._before = {}
        for name, layer in self._network.layers.items():
            neurons.forget(layer, self.states[name])

    def snapshot(self) -> dict[str, Any]:
        """All state, as arrays that are not changed later."""
        arrays = {
            f"{name}/{part}": array.copy()
            for name, state in self.states.items() for part, array in state._asdict().items()
        }  # fmt: skip
        for name, spikes in self._before.items():
            arrays |= {f"{name}/before_index": spikes.index, f"{name}/before_value": spikes.value}
        return arrays

    def restore(self, arrays: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self._before = {}
        for name, state in self.states.items():
            for part, array in state._asdict().items():
                array[:] = arrays[f"{name}/{part}"]
            if f"{name}/before_index" in arrays:
                index, value = arrays[f"{name}/before_index"], arrays[f"{name}/before_value"]
                self._before[name] = Spikes(np.array([0, len(index)], np.int64), index, value)

    def _layer(self, name: str, sent: dict[str, Spikes]) -> Spikes:
        steps = next(iter(sent.values())).steps
        parts = [
            (int(first), self._before.get(one.source, nothing(steps)) if one.recurrent else sent[one.source])
            for first, one in zip(self._firsts[name], self._inputs[name], strict=False)
            if not (one.recurrent and one.source == name)  # the layer's kernel sees to that
        ]
        return neurons.advance(
            self._network.layers[name], self.states[name], synapses.merged(parts), self._lazy
        )


def nothing(steps: int) -> Spikes:
    """Steps without a spike."""
    return Spikes(np.zeros(steps + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def joined(parts: list[Spikes]) -> Spikes:
    """Steps one after the other."""
    if not parts:
        return nothing(0)
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return Spikes(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        np.concatenate([part.index for part in parts]), np.concatenate([part.value for part in parts]),
    )  # fmt: skip


def dense(spikes: Spikes, size: int) -> F32:
    """Spikes as [step, neuron]."""
    out = np.zeros((spikes.steps, size), np.float32)
    out[np.repeat(np.arange(spikes.steps), np.diff(spikes.offsets)), spikes.index] = spikes.value
    return out


def sparse(values: F32) -> Spikes:
    """[step, neuron] as spikes."""
    step, index = np.nonzero(values)
    offsets = np.searchsorted(step, np.arange(len(values) + 1)).astype(np.int64)
    return Spikes(offsets, index.astype(np.int32), values[step, index].astype(np.float32))


def grid(shape: Side) -> Shape:
    """(channels, height, width) as the kernels' grid."""
    channels, height, width = shape
    return Shape(height, width, channels)


def channels_last(values: Any, shape: Side) -> Any:
    """[neuron] in the order (channel, y, x) as [site, channel]; a single number stays one."""
    array = np.asarray(values, np.float32)
    channels, height, width = shape
    if array.size == 1:
        return array.reshape(())
    if array.shape == (channels,) and height * width > 1:
        return array
    if array.size != channels * height * width:
        raise ValueError(f"{array.size} values for {channels * height * width} neurons")
    return array.reshape(channels, height * width).T


def _step(spikes: Spikes, step: int) -> Spikes:
    a, b = spikes.offsets[step], spikes.offsets[step + 1]
    return Spikes(np.array([0, b - a], np.int64), spikes.index[a:b], spikes.value[a:b])


def _layer(card: LayerCard, shapes: dict[str, Side], tensors: Tensors) -> Layer:
    try:
        connections = [
            _connection(card, one, f"{card.name}/{i}", shapes, tensors) for i, one in enumerate(card.inputs)
        ]
        values = {
            name: channels_last(tensors[f"{card.name}/{name}"], card.shape)
            for name in COEFFICIENTS if f"{card.name}/{name}" in tensors
        }  # fmt: skip
        if card.neuron.reset == "residual" and card.neuron.model not in {"lif", "cuba"}:
            raise ValueError("reset: residual is of lif and cuba neurons")
        if card.neuron.model == "alif" and card.neuron.reset.startswith("delayed"):
            raise ValueError("reset: adaptive neurons are reset at once")
        target = grid(card.shape)
        made = neurons.neurons(
            card.neuron.model, target.channels, sites=target.sites, reset=card.neuron.reset,
            non_strict=card.neuron.threshold == "ge", many=card.neuron.many,
            sends_potential=card.neuron.sends_potential, **values,
        )  # fmt: skip
        start = channels_last(tensors.get(f"{card.name}/start", np.zeros(())), card.shape)
        made_synapses = synapses.synapses(connections, target)
        own = [i for i, one in enumerate(card.inputs) if one.recurrent and one.source == card.name]
        if len(own) > 1:
            raise ValueError("two connections of a layer to itself")
        loop = int(made_synapses.geometry[own[0], synapses.FIRST]) if own else -1
        return Layer(made_synapses, made, start, loop)
    except (ValueError, KeyError) as problem:
        raise ValueError(f"layer {card.name}: {problem}") from problem


def _connection(
    card: LayerCard, one: ConnectionCard, prefix: str, shapes: dict[str, Side], tensors: Tensors
) -> Connection:
    if one.source not in shapes:
        raise ValueError(f"no layer is named {one.source!r}")
    source = grid(shapes[one.source])
    delay = tensors.get(f"{prefix}/delay")
    if delay is not None and (delay.min(initial=0) < 0 or delay.max(initial=0) > MOST_DELAY):
        raise ValueError(f"delays are 0 to {MOST_DELAY} steps")
    if one.op == "one_to_one":
        made = _one_to_one(source, card.shape, tensors.get(f"{prefix}/weight"), delay, shapes[one.source])
    elif one.op == "dense":
        weight = np.asarray(tensors[f"{prefix}/weight"], np.float32)
        if weight.ndim != 2 or weight.shape[1] != source.size:
            raise ValueError(f"weight {weight.shape} does not read {source.size} inputs")
        made = synapses.dense(weight, source, None if delay is None else np.asarray(delay, np.int16))
    elif one.op == "conv2d":
        weight = np.asarray(tensors[f"{prefix}/weight"], np.float32)
        if (
            weight.ndim != 4
            or weight.shape[0] % one.groups
            or weight.shape[1] * one.groups != source.channels
        ):
            raise ValueError(
                f"weight {weight.shape} in {one.groups} groups does not read {source.channels} channels"
            )
        made = synapses.convolution(weight, source, one.stride, one.pad, one.dilation, one.groups)
    else:
        made = synapses.pooling(source, one.size, one.stride, one.pad, one.op == "average_pool")
    if one.op in {"conv2d", "sum_pool", "average_pool"}:
        size = made.weight.shape[:2]
        expected = [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, p, d, k, s in zip(
                (source.height, source.width), made.pad, made.dilation, size, made.stride, strict=True
            )
        ]
        if expected != list(card.shape[1:]):
            raise ValueError(f"shape {card.shape[1:]}, but {one.op} gives {tuple(expected)}")
    return made


def _one_to_one(source: Shape, target: Side, weight: Any, delay: Any, shape: Side) -> Connection:
    if target != shape:
        raise ValueError(f"{shape} to {target}, one to one")
    if weight is None and delay is None:
        return synapses.one_to_one(source)

    def laid(values: Any) -> Any:
        return np.broadcast_to(channels_last(values, shape), (source.sites, source.channels))

    return synapses.one_to_one(
        source, None if weight is None else laid(weight), None if delay is None else laid(delay)
    )


def _ordered(card: SpikingCard) -> tuple[str, ...]:
    """Each layer behind what it reads, but for recurrent connections.

    Raises:
        ValueError: there is a cycle without one.
    """
    done: list[str] = []
    waiting = list(card.layers)
    while waiting:
        ready = [
            one for one in waiting
            if all(i.recurrent or i.source == INPUT or i.source in done for i in one.inputs)
        ]  # fmt: skip
        if not ready:
            raise ValueError(f"a cycle without a recurrent connection, through {waiting[0].name}")
        done += [one.name for one in ready]
        waiting = [one for one in waiting if one.name not in done]
    return tuple(done)


def _blocks(network: SpikingNetwork) -> list[tuple[tuple[str, ...], bool]]:
    """The order cut into single layers, and runs of layers that a recurrent connection makes go step by step."""
    order = network.order
    place = {name: i for i, name in enumerate(order)}
    spans = [
        (place[layer.name], place[one.source])
        for layer in network.card.layers for one in layer.inputs if one.recurrent and one.source != layer.name
    ]  # fmt: skip
    loops = np.zeros(len(order) + 1, np.int64)
    for a, b in spans:
        loops[min(a, b)] += 1
        loops[max(a, b) + 1] -= 1
    inside = np.cumsum(loops)[:-1] > 0
    starts = {min(a, b) for a, b in spans}
    blocks: list[tuple[tuple[str, ...], bool]] = []
    for i, name in enumerate(order):
        overlapping = i in starts and not any(min(a, b) < i <= max(a, b) for a, b in spans)
        if inside[i] and blocks and blocks[-1][1] and not overlapping:
            blocks[-1] = ((*blocks[-1][0], name), True)
        else:
            blocks.append(((name,), bool(inside[i])))
    return blocks
