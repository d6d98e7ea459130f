"""Classifiers without a gradient: a reservoir with a linear readout, and neurons taught by symmetric STDP.

Both become spiking networks like any other: what was learned is fixed, and runs in the same kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels.columns import F32
from kernels.learning import plasticity
from kernels.networks import reservoir
from kernels.networks.reservoir import Rules
from kernels.networks.synapses import Spikes
from pipeline.models.bundle import Tensors
from pipeline.models.spiking import INPUT, ConnectionCard, LayerCard, NeuronCard, Side

Truth = NDArray[np.int64]
Progress = Callable[[float, str], None]
Layers = tuple[tuple[LayerCard, ...], Tensors]


class ReservoirPlan(BaseModel):
    """A reservoir, and the ridge regression that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    neurons: int = Field(default=1000, ge=5, le=4096)
    gain: float = Field(default=8.0, gt=0, description="of the input")
    density: float = Field(default=0.03, gt=0, le=1, description="share of the others that a neuron hears")
    decay: float = Field(default=0.5, ge=0, le=1)
    target: float = Field(default=0.08, gt=0, lt=1, description="spikes a step that balance aims at")
    balance: float = Field(default=0.02, ge=0, description="how fast inhibition moves")
    a_plus: float = Field(default=0.0, ge=0, description="how fast excitation learns, beside the astrocyte")
    passes: int = Field(default=1, ge=0, description="how often it hears all recordings before it is read")
    ridge: float = Field(default=10.0, gt=0)


class StdpPlan(BaseModel):
    """A layer of neurons, so many a class, that a teacher makes fire."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_class: int = Field(default=20, ge=1, le=256)
    passes: int = Field(default=3, ge=1)
    eta: float = Field(default=0.01, gt=0)
    offset: float = Field(default=0.05, ge=0, description="traces below this count as silence")
    trace_decay: float = Field(default=0.5, ge=0, lt=1)


def with_reservoir(
    spikes: Sequence[Spikes], truth: Truth, shape: Side, classes: int, plan: ReservoirPlan, seed: int,
    progress: Progress,
) -> Layers:  # fmt: skip
    """Let a reservoir adjust itself to recordings, and read its spike counts by ridge regression."""
    inputs = shape[0] * shape[1] * shape[2]
    weights = reservoir.new_weights(inputs, plan.neurons, seed, density=plan.density, gain=plan.gain)
    state = reservoir.new_state(plan.neurons, plan.target)
    rules = Rules(decay=plan.decay, target=plan.target, eta=plan.balance, a_plus=plan.a_plus)
    for one in range(plan.passes):
        order = np.random.default_rng([seed, one]).permutation(len(spikes))
        for done, i in enumerate(order):
            reservoir.rest(state)
            reservoir.advance(spikes[i], weights, state, rules)
            progress(0.8 * (one + (done + 1) / len(order)) / max(plan.passes, 1), "adjusting itself")
    still = rules._replace(eta=0.0, a_plus=0.0)
    counts = np.zeros((len(spikes), plan.neurons))
    for i, one in enumerate(spikes):
        reservoir.rest(state)
        sent = reservoir.advance(one, weights, state, still)
        counts[i] = np.bincount(sent.index, minlength=plan.neurons)
        progress(0.8 + 0.2 * (i + 1) / len(spikes), "being read")
    readout, bias = _ridge(counts, truth, classes, plan.ridge)
    steps = spikes[0].steps
    hears = ConnectionCard(source=INPUT, op="dense")
    itself = ConnectionCard(source="reservoir", op="dense", recurrent=True)
    layer = LayerCard(
        name="reservoir", shape=(plan.neurons, 1, 1), inputs=(hears, itself),
        neuron=NeuronCard(model="lif", reset="hard", threshold="ge"),
    )  # fmt: skip
    numbers = {
        "reservoir/decay": plan.decay, "reservoir/threshold": rules.threshold, "readout/decay": 1.0,
    }  # fmt: skip
    tensors: Tensors = {name: np.asarray(value, np.float32) for name, value in numbers.items()}
    tensors["reservoir/0/weight"] = _channels_first(weights.given.T, shape)
    tensors["reservoir/1/weight"] = np.ascontiguousarray(weights.own.T)
    tensors["readout/0/weight"] = readout
    tensors["readout/constant"] = (bias / np.float32(steps)).astype(np.float32)
    return (layer, _readout("reservoir", classes)), tensors


def with_stdp(
    spikes: Sequence[Spikes],
    truth: Truth,
    shape: Side,
    classes: int,
    plan: StdpPlan,
    seed: int,
    progress: Progress,
) -> Layers:
    """Neurons of each class learn what recordings of it look like; a recording's is the one that it excites most.

    While it learns, the teacher makes one neuron of the class, another for each recording, fire in every step;
    afterwards a neuron's potential is how well the recording matches its weights, less what is common to all.
    """
    inputs = shape[0] * shape[1] * shape[2]
    rng = np.random.default_rng(seed)
    neurons = classes * plan.per_class
    weight = rng.uniform(0, 0.3, (neurons, inputs)).astype(np.float32)
    turn = np.zeros(classes, np.int64)
    for one in range(plan.passes):
        order = np.random.default_rng([seed, one]).permutation(len(spikes))
        for done, i in enumerate(order):
            label = int(truth[i])
            taught = label * plan.per_class + int(turn[label]) % plan.per_class
            turn[label] += 1
            _teach(spikes[i], taught, weight, plan)
            progress((one + (done + 1) / len(order)) / plan.passes, "being taught")
    plasticity.scale(weight, float(np.sqrt(inputs)))
    centred = weight - weight.mean(axis=0, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    per_class = centred.reshape(classes, plan.per_class, inputs).mean(axis=1)
    tensors: Tensors = {
        "readout/0/weight": _channels_first(per_class, shape), "readout/decay": np.ones((), np.float32),
    }  # fmt: skip
    return (_readout(INPUT, classes),), tensors


def _channels_first(weight: NDArray[np.float32], shape: Side) -> F32:
    """[neuron, input (y, x, channel)] with inputs in the order (channel, y, x) of a bundle."""
    channels, height, width = shape
    laid = weight.reshape(len(weight), height, width, channels).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(laid.reshape(len(weight), -1), np.float32)


def _teach(spikes: Spikes, taught: int, weight: F32, plan: StdpPlan) -> None:
    before = np.zeros(weight.shape[1], np.float32)
    after = np.zeros(weight.shape[0], np.float32)
    fired = np.array([taught], np.int32)
    for step in range(spikes.steps):
        arrived = spikes.index[spikes.offsets[step] : spikes.offsets[step + 1]]
        before *= np.float32(plan.trace_decay)
        before[arrived] += 1
        plasticity.pair(arrived, fired, before, after, weight, plan.eta, plan.offset, 1.0)
        after *= np.float32(plan.trace_decay)
        after[taught] += 1


def _ridge(counts: NDArray[np.float64], truth: Truth, classes: int, ridge: float) -> tuple[F32, F32]:
    """(weights [class, neuron], bias [class]) of least squares on one-hot classes, by the normal equations."""
    mean, spread = counts.mean(axis=0), counts.std(axis=0) + 1e-3
    x = (counts - mean) / spread
    y = np.eye(classes)[truth]
    offset = y.mean(axis=0)
    gram = x.T @ x + ridge * len(counts) ** 0.5 * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ (y - offset)).T / spread
    return weight.astype(np.float32), (offset - weight @ mean).astype(np.float32)


def _readout(source: str, classes: int) -> LayerCard:
    return LayerCard(
        name="readout", shape=(classes, 1, 1), inputs=(ConnectionCard(source=source, op="dense"),),
        neuron=NeuronCard(model="lif", sends_potential=True),
    )  # fmt: skip
