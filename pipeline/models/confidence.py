"""When a classifier may stop looking: Dynamic Confidence.

With o[t] what a step adds to each class, S[t] = o[1] + ... + o[t], confidence[t] = max softmax(S[t] / alpha).
Temperature alpha minimises the negative log likelihood on held-out recordings, over all their steps; an
answer is given as soon as the confidence passes a threshold, which a target error on held-out recordings
decides. Li, Jones & Furber, "Unleashing the potential of spiking neural networks with Dynamic Confidence", ICCV 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[Any]
"""S: [recording, step, class]."""
Truth = NDArray[np.int64]
_BINS = 15
_THRESHOLDS = (
    0.3,
    0.4,
    0.5,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.92,
    0.94,
    0.96,
    0.97,
    0.98,
    0.99,
    0.995,
    0.999,
)


def certainties(sums: Sums, temperature: float) -> NDArray[np.float64]:
    """softmax(S / alpha) over the last axis."""
    scaled = sums.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    share = np.exp(scaled)
    return share / share.sum(axis=-1, keepdims=True)


def best_temperature(sums: Sums, truth: Truth) -> float:
    """The temperature of least negative log likelihood, by golden section over its logarithm."""
    low, high = -4.0, 6.0
    ratio = (5**0.5 - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if likelihood(sums, truth, float(np.exp(a))) < likelihood(sums, truth, float(np.exp(b))):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def likelihood(sums: Sums, truth: Truth, temperature: float) -> float:
    """Mean negative log likelihood over all recordings and steps."""
    share = certainties(sums, temperature)
    right = np.take_along_axis(share, truth[:, None, None], axis=2)
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence and accuracy over 15 bins of confidence, weighted by how many fall in each."""
    at = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for k in range(_BINS):
        inside = at == k
        if inside.any():
            total += inside.sum() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return total / max(len(confidence), 1)


def stops(sums: Sums, temperature: float, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(step, answer) of each recording: the first step whose confidence passes, or the last."""
    share = certainties(sums, temperature)
    passing = share.max(axis=2) >= threshold
    step = np.where(passing.any(axis=1), passing.argmax(axis=1), sums.shape[1] - 1)
    answers = share.argmax(axis=2)
    return step, answers[np.arange(len(sums)), step]


def calibrated(sums: Sums, truth: Truth, loss: float = 0.0) -> dict[str, Any]:
    """Temperature and threshold from held-out recordings, and what such are worth on others again.

    The figures are crosswise: chosen on every other recording, measured on those between, and the other way round.

    Args:
        sums: S of recordings that nothing was learned from.
        truth: their classes.
        loss: how much accuracy an early answer may cost.
    """
    temperature, threshold, curve = _chosen(sums, truth, loss)
    steps = np.zeros(len(truth), np.int64)
    answers, sure, right = np.zeros_like(truth), list[Any](), list[Any]()
    for first in (0, 1):
        learned, measured = slice(first, None, 2), slice(1 - first, None, 2)
        alpha, least, _ = _chosen(sums[learned], truth[learned], loss)
        steps[measured], answers[measured] = stops(sums[measured], alpha, least)
        share = certainties(sums[measured], alpha)
        sure.append(share.max(axis=2).ravel())
        right.append((share.argmax(axis=2) == truth[measured, None]).ravel())
    error = calibration_error(np.concatenate(sure), np.concatenate(right))
    return {
        "temperature": round(temperature, 6), "threshold": round(threshold, 4),
        "accuracy_all_steps": round(float((sums[:, -1].argmax(axis=1) == truth).mean()), 4),
        "accuracy_early": round(float((answers == truth).mean()), 4),
        "share_of_steps": round(float((steps + 1).mean()) / sums.shape[1], 4),
        "calibration_error": round(float(error), 4), "recordings": len(truth), "curve": curve,
    }  # fmt: skip


def _chosen(sums: Sums, truth: Truth, loss: float) -> tuple[float, float, list[list[float]]]:
    """(temperature, the least threshold that costs no more than ``loss``, [threshold, accuracy, share of steps])."""
    temperature = best_temperature(sums, truth)
    full = float((sums[:, -1].argmax(axis=1) == truth).mean())
    curve: list[list[float]] = []
    chosen = 1.0
    for threshold in _THRESHOLDS:
        step, answer = stops(sums, temperature, threshold)
        accuracy, looked = float((answer == truth).mean()), float((step + 1).mean()) / sums.shape[1]
        curve.append([threshold, round(accuracy, 4), round(looked, 4)])
        if accuracy >= full - loss - 1e-9:
            chosen = min(chosen, threshold)
        elif chosen < 1.0:
            chosen = 1.0  # it costs again at a higher one: luck, not knowledge
    return temperature, chosen, curve
