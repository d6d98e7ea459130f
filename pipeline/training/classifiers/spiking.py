"""A spiking classifier that learns: layers of LIF neurons, and an integrator for each class.

Every step's loss is the cross-entropy of that step's input to the integrators, so the network learns to
be right early; its gradient goes back through the layers, not through time (:mod:`kernels.learning.surrogate`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels._lanes import padded
from kernels.columns import F32
from kernels.learning import regression, surrogate
from kernels.networks.synapses import Shape, Synapses
from pipeline.models.bundle import Tensors
from pipeline.models.delta import DeltaLayerCard
from pipeline.models.spiking import INPUT, ConnectionCard, LayerCard, NeuronCard, Side

Rows = NDArray[np.int64]


class LayerPlan(BaseModel):
    """A layer of LIF neurons."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(ge=1, le=4096)
    size: int = Field(default=0, ge=0, le=31, description="side of its kernel; 0: from all to all")
    stride: int = Field(default=1, ge=1, le=16)


class NeuronPlan(BaseModel):
    """What all its neurons are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lif", "relu"] = Field(
        default="lif", description="spiking, or rectified and without memory, for a Delta network"
    )
    decay: float = Field(default=0.5, ge=0, le=1, description="of a potential, a step")
    threshold: float = Field(default=1.0, gt=0)
    hard: bool = Field(default=True, description="a spike sets the potential to 0, otherwise it subtracts")
    surrogate: Literal["atan", "rectangle"] = "atan"


class TrainedLayer:
    """Weights of a layer, and the moments of Adam."""

    def __init__(self, plan: LayerPlan, source: Shape, gain: float, rng: np.random.Generator) -> None:
        self.source, self.plan = source, plan
        if plan.size:
            pad = plan.size // 2
            sides = [
                (side + 2 * pad - plan.size) // plan.stride + 1 for side in (source.height, source.width)
            ]
            window, self.stride, self.pad = (plan.size, plan.size), (plan.stride, plan.stride), (pad, pad)
        else:
            sides, window, self.stride, self.pad = [1, 1], (source.height, source.width), (1, 1), (0, 0)
        self.target = Shape(sides[0], sides[1], plan.channels)
        fan_in = window[0] * window[1] * source.channels
        weight = rng.normal(size=(*window, source.channels, plan.channels)) * gain * math.sqrt(2 / fan_in)
        self.synapses: Synapses = surrogate.table_of(
            weight.astype(np.float32), source, self.target, self.stride, self.pad
        )
        self.table: F32 = self.synapses.table.copy()
        self.bias: F32 = np.zeros(padded(plan.channels), np.float32)
        self.moments = [np.zeros_like(one) for one in (self.table, self.table, self.bias, self.bias)]

    def shape(self, examples: int) -> tuple[int, int, int]:
        """Of its activity."""
        return examples, self.target.sites, padded(self.target.channels)

    def state(self) -> list[F32]:
        """All that training changes."""
        return [self.table, self.bias, *self.moments]


class Activity:
    """What some examples do in a step, layer by layer; it is all that a step needs of the one before."""

    def __init__(self, layers: Sequence[TrainedLayer], examples: int) -> None:
        shapes = [layer.shape(examples) for layer in layers]
        self.x = [np.empty(shape, np.float32) for shape in shapes]
        self.u = [np.zeros(shape, np.float32) for shape in shapes]
        self.s = [np.zeros(shape, np.float32) for shape in shapes]
        self.psi = [np.zeros(shape, np.float32) for shape in shapes]

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return sum(one.nbytes for many in (self.x, self.u, self.s, self.psi) for one in many)


class SpikingLearner:
    """The network that is trained."""

    def __init__(
        self, input_shape: Shape, plans: Sequence[LayerPlan], classes: int, neuron: NeuronPlan, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        self.neuron, self.classes, self.steps = neuron, classes, 0
        self.layers: list[TrainedLayer] = []
        source = input_shape
        for i, plan in enumerate([*plans, LayerPlan(channels=classes)]):
            gain = 0.3 if i == len(plans) else 2.0 if i == 0 else 1.5
            self.layers.append(TrainedLayer(plan, source, gain, rng))
            source = self.layers[-1].target

    def forward(self, below: F32, activity: Activity) -> F32:
        """One step: what arrives at the integrators, [example, class].

        Args:
            below: [example, site, lane].
            activity: of the step before, changed.
        """
        neuron = self.neuron
        kind = surrogate.ATAN if neuron.surrogate == "atan" else surrogate.RECTANGLE
        last = len(self.layers) - 1
        for k, layer in enumerate(self.layers):
            surrogate.charge(below, layer.synapses, layer.table, layer.bias, activity.x[k])
            if k < last and neuron.kind == "relu":
                surrogate.rectify(activity.x[k], activity.s[k], activity.psi[k])
                below = activity.s[k]
            elif k < last:
                surrogate.fire(
                    activity.x[k], activity.u[k], neuron.decay, neuron.threshold, neuron.hard, kind,
                    activity.s[k], activity.psi[k],
                )  # fmt: skip
                below = activity.s[k]
        return activity.x[last][:, 0, : self.classes]

    def backward(
        self, below: F32, error: F32, activity: Activity, turned: list[F32], slopes: list[F32]
    ) -> None:
        """Adds a step's spatial gradient.

        Args:
            below: what arrived in the step, [example, site, lane].
            error: the loss's gradient by what :meth:`forward` returned.
            activity: of this step.
            turned: transposed tables, :meth:`turned`.
            slopes: tables and biases in turn, added to.
        """
        wrong = np.zeros_like(activity.x[-1])
        wrong[:, 0, : self.classes] = error
        for k in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[k]
            surrogate.weight_gradient(activity.s[k - 1] if k else below, wrong, layer.synapses, slopes[2 * k])
            slopes[2 * k + 1] += wrong.sum(axis=(0, 1))
            if k:
                lower = np.empty_like(activity.x[k - 1])
                surrogate.input_gradient(wrong, layer.synapses, turned[k], lower)
                wrong = lower * activity.psi[k - 1]

    def turned(self) -> list[F32]:
        """Tables along which errors go back; the first layer's is not needed."""
        return [np.empty(0, np.float32)] + [
            surrogate.transposed(layer.synapses, layer.table, layer.source.channels)
            for layer in self.layers[1:]
        ]

    def new_slopes(self) -> list[F32]:
        """Zeros like tables and biases in turn."""
        return [np.zeros_like(one) for layer in self.layers for one in (layer.table, layer.bias)]

    def learn(self, slopes: list[F32], rate: float, shrink: float) -> None:
        """One step of Adam; weights also shrink by ``rate * shrink``."""
        self.steps += 1
        for k, layer in enumerate(self.layers):
            layer.table *= np.float32(1 - rate * shrink)
            regression.adam(layer.table, slopes[2 * k], layer.moments[0], layer.moments[1], self.steps, rate)
            regression.adam(
                layer.bias, slopes[2 * k + 1], layer.moments[2], layer.moments[3], self.steps, rate
            )

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All state."""
        arrays = {
            f"layer{k}_{i}": one.copy()
            for k, layer in enumerate(self.layers)
            for i, one in enumerate(layer.state())
        }
        return {**arrays, "steps": np.array([self.steps])}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a snapshot."""
        for k, layer in enumerate(self.layers):
            for i, one in enumerate(layer.state()):
                one[:] = arrays[f"layer{k}_{i}"]
        self.steps = int(arrays["steps"][0])

    def exported(self) -> tuple[tuple[LayerCard, ...], Tensors]:
        """The layers of a bundle, and their tensors."""
        cards: list[LayerCard] = []
        tensors: Tensors = {}
        source = INPUT
        for k, layer in enumerate(self.layers):
            last = k == len(self.layers) - 1
            name = "readout" if last else f"layer{k + 1}"
            weight = surrogate.weight_of(layer.synapses, layer.table)  # [tap_y, tap_x, in, out]
            laid = weight.transpose(3, 2, 0, 1)
            if layer.plan.size:
                connection = ConnectionCard(source=source, op="conv2d", stride=layer.stride, pad=layer.pad)
            else:
                connection, laid = ConnectionCard(source=source, op="dense"), laid.reshape(len(laid), -1)
            tensors[f"{name}/0/weight"] = np.ascontiguousarray(laid, np.float32)
            tensors[f"{name}/constant"] = layer.bias[: layer.target.channels].copy()
            tensors |= {f"{name}/{key}": value for key, value in self._coefficients(last).items()}
            shape: Side = (layer.target.channels, layer.target.height, layer.target.width)
            cards.append(LayerCard(name=name, shape=shape, inputs=(connection,), neuron=self._card(last)))
            source = name
        return tuple(cards), tensors

    def exported_delta(self) -> tuple[tuple[DeltaLayerCard, ...], Tensors]:
        """The layers of a Delta network, its steps not yet chosen, and their tensors."""
        spiking, tensors = self.exported()
        cards: list[DeltaLayerCard] = []
        own: Tensors = {}
        for card in spiking:
            one = card.inputs[0]
            last = card is spiking[-1]
            own[f"{card.name}/weight"] = tensors[f"{card.name}/0/weight"]
            own[f"{card.name}/bias"] = tensors[f"{card.name}/constant"]
            op = "dense" if one.op == "dense" else "conv2d"
            cards.append(
                DeltaLayerCard(
                    name=card.name, op=op, shape=card.shape, stride=one.stride, pad=one.pad, relu=not last
                )
            )
        return tuple(cards), own

    def _coefficients(self, last: bool) -> Tensors:
        neuron = self.neuron
        values = {"decay": 1.0} if last else {
            "decay": neuron.decay, "threshold": neuron.threshold,
            "reset_to": 0.0 if neuron.hard else neuron.threshold,
        }  # fmt: skip
        return {key: np.asarray(value, np.float32) for key, value in values.items()}

    def _card(self, last: bool) -> NeuronCard:
        if last:
            return NeuronCard(model="lif", sends_potential=True)
        return NeuronCard(model="lif", reset="hard" if self.neuron.hard else "subtract", threshold="ge")
