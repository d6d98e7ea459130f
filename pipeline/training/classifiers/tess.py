"""TESS: learning without a backward pass, from what each synapse saw and what its layer says of the classes.

With traces tr' = lambda tr + s of what arrives and of what leaves, u the potential before its reset, psi the
spike's surrogate derivative, y the label and P a layer's fixed random projection on the classes,

    e[i, j] = a_pre psi(u_j) tr_pre_i + a_post tr_post_j s_i,
    m_j = (P (softmax(P^T s) - y))_j,    dW[i, j] = -rate * m_j e[i, j],

so a weight needs only its two neurons' traces: memory grows with neurons, not with steps or depth.
Apolinario & Roy, "TESS: A scalable temporally and spatially local learning rule for spiking neural
networks", 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kernels.columns import F32
from kernels.learning import surrogate
from pipeline.training.classifiers.spiking import Activity, SpikingLearner, TrainedLayer


class TessPlan(BaseModel):
    """The rule's constants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pre: float = Field(
        default=1.0, description="weight of what arrived before a potential was near its threshold"
    )
    post: float = Field(default=0.0, description="weight of what arrives after the neuron sent a spike")
    trace_decay: float = Field(default=0.2, ge=0, lt=1, description="of both traces, a step")


class Traces:
    """What some examples left behind in each layer: [example, site, lane] of what arrived, and of what left."""

    def __init__(self, layers: Sequence[TrainedLayer], below: F32) -> None:
        examples = len(below)
        self.before = [np.zeros_like(below)] + [
            np.zeros(layer.shape(examples), np.float32) for layer in layers[:-1]
        ]
        self.after = [np.zeros(layer.shape(examples), np.float32) for layer in layers[:-1]]


def projections(learner: SpikingLearner, seed: int) -> list[F32]:
    """P of each layer but the last, [site, lane, class]: signs, scaled by the square root of the layer's size."""
    rng = np.random.default_rng([seed, 23])
    made: list[F32] = []
    for layer in learner.layers[:-1]:
        _, sites, lanes = layer.shape(1)
        signs = rng.choice([-1.0, 1.0], (sites, lanes, learner.classes)).astype(np.float32)
        signs[:, layer.target.channels :] = 0
        made.append(signs * np.float32(8 / np.sqrt(layer.target.size)))
    return made


def learn_step(
    learner: SpikingLearner, below: F32, error: F32, truth: F32, activity: Activity, traces: Traces,
    projection: list[F32], plan: TessPlan, scale: float, slopes: list[F32],
) -> None:  # fmt: skip
    """Adds one step's changes.

    Args:
        learner: the network, after :meth:`SpikingLearner.forward`.
        below: what arrived, [example, site, lane].
        error: the loss's gradient by what arrived at the integrators: they learn from it as in SLTT.
        truth: [example, class] of 0 and 1.
        activity: of this step.
        traces: of the steps before, changed.
        projection: from :func:`projections`.
        plan: the rule's constants.
        scale: what the changes are multiplied with.
        slopes: tables and biases in turn, added to.
    """
    decay = np.float32(plan.trace_decay)
    arriving = [below, *activity.s[:-1]]
    for k, layer in enumerate(learner.layers[:-1]):
        traces.before[k] *= decay
        traces.before[k] += arriving[k]
        modulation = _modulation(activity.s[k], projection[k], truth) * np.float32(scale)
        wrong = modulation * activity.psi[k] * np.float32(plan.pre)
        surrogate.weight_gradient(traces.before[k], wrong, layer.synapses, slopes[2 * k])
        slopes[2 * k + 1] += wrong.sum(axis=(0, 1))
        if plan.post:
            late = modulation * traces.after[k] * np.float32(plan.post)
            surrogate.weight_gradient(arriving[k], late, layer.synapses, slopes[2 * k])
        traces.after[k] *= decay
        traces.after[k] += activity.s[k]
    last = len(learner.layers) - 1
    wrong = np.zeros_like(activity.x[last])
    wrong[:, 0, : learner.classes] = error
    surrogate.weight_gradient(arriving[last], wrong, learner.layers[last].synapses, slopes[2 * last])
    slopes[2 * last + 1] += wrong.sum(axis=(0, 1))


def _modulation(s: F32, projection: F32, truth: F32) -> F32:
    """m, [example, site, lane]."""
    flat = projection.reshape(-1, projection.shape[-1])
    said = s.reshape(len(s), -1) @ flat
    share = np.exp(said - said.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return ((share - truth) @ flat.T).reshape(s.shape)
