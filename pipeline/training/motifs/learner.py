"""Weights under training: softmax regression by Adam, kept inside the light cone and symmetric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.columns import F32, F64, I64
from kernels.learning import regression
from kernels.learning.regression import Inputs
from pipeline.stage import Arrays

_CENTRE = 0.02
"""How the zero-delay tap at the centre starts: ON for, OFF against."""


class Learner:
    """Softmax regression of voxels on their active taps.

    Args:
        size: side of the kernel, odd.
        delays: how many delays.
        classes: how many.
        symmetries: of places and classes; see :func:`kernels.learning.regression.symmetrise`.
        contrast_flip: whether evidence is the maximum over both polarity assignments.
        rng: draws the first weights.
    """

    def __init__(
        self, size: int, delays: int, classes: int, symmetries: tuple[I64, I64], contrast_flip: bool,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self._shape = size * size, delays, 2, classes
        self._flip = contrast_flip
        cone = light_cone(size, delays).reshape(delays, -1).T[:, :, None, None]
        self._mask = np.broadcast_to(cone, self._shape).reshape(-1, classes).astype(np.float32)
        self._places, self._classes = symmetries
        self.weight = (0.01 * rng.standard_normal(self._mask.shape) * self._mask).astype(np.float32)
        centre = self.weight.reshape(self._shape)[size * size // 2, 0]
        centre[0] -= _CENTRE
        centre[1] += _CENTRE
        self.weight = self._symmetric(self.weight)
        self.bias = np.zeros(classes, np.float32)
        self._moments = [np.zeros_like(v) for v in (self.weight, self.weight, self.bias, self.bias)]
        self._slope = np.zeros_like(self.weight)
        self.steps = 0

    def step(self, inputs: Inputs, truth: I64, rate: float) -> tuple[float, float]:
        """One step of Adam on the mean cross-entropy; (loss, accuracy) before it."""
        if len(truth) == 0:
            return math.nan, math.nan
        share, swapped, loss, accuracy = self._posterior(inputs, truth)
        share[np.arange(len(truth)), truth] -= 1
        share /= np.float32(len(truth))
        regression.gradient(inputs, share, swapped, self._slope)
        self.steps += 1
        slope = self._symmetric(self._slope)
        bias_slope = share.sum(axis=0)[self._classes].mean(axis=0).astype(np.float32)
        first, second, bias_first, bias_second = self._moments
        regression.adam(self.weight, slope, first, second, self.steps, rate)
        regression.adam(self.bias, bias_slope, bias_first, bias_second, self.steps, rate)
        bound = self._mask * np.abs(self.weight).max()
        np.clip(self.weight, -bound, bound, out=self.weight)
        return loss, accuracy

    def test(self, inputs: Inputs, truth: I64) -> tuple[float, float]:
        """(loss, accuracy) without learning."""
        return self._posterior(inputs, truth)[2:]

    def bank(self) -> tuple[F64, F64]:
        """Weights [class, polarity, delay, dy, dx] and biases."""
        places, delays, _, classes = self._shape
        size = math.isqrt(places)
        weight = self.weight.reshape(size, size, delays, 2, classes).transpose(4, 3, 2, 0, 1)
        return weight.astype(np.float64), self.bias.astype(np.float64)

    def snapshot(self) -> Arrays:
        """All that a later :meth:`restore` needs."""
        moments = {f"moment{i}": moment.copy() for i, moment in enumerate(self._moments)}
        return {
            "weight": self.weight.copy(),
            "bias": self.bias.copy(),
            "steps": np.array(self.steps),
            **moments,
        }

    def restore(self, arrays: Arrays) -> None:
        """Go on from a snapshot."""
        self.weight[:], self.bias[:], self.steps = arrays["weight"], arrays["bias"], int(arrays["steps"])
        for i, moment in enumerate(self._moments):
            moment[:] = arrays[f"moment{i}"]

    def _posterior(self, inputs: Inputs, truth: I64) -> tuple[F32, NDArray[np.bool_], float, float]:
        scores, swapped = regression.logits(inputs, self.weight, self.bias, self._flip)
        scores -= scores.max(axis=1, keepdims=True)
        share = np.exp(scores)
        share /= share.sum(axis=1, keepdims=True)
        right = share[np.arange(len(truth)), truth]
        loss = float(-np.log(np.maximum(right, 1e-12)).mean())
        return share, swapped, loss, float((share.argmax(axis=1) == truth).mean())

    def _symmetric(self, slope: F32) -> F32:
        out = np.empty_like(slope)
        regression.symmetrise(slope, self._places, self._classes, self._shape[1] * 2, out)
        return out


def light_cone(size: int, delays: int) -> NDArray[np.float64]:
    """How large a weight may be, [delay, dy, dx] in 0..1: now at the centre, the past spreads out.

    With r the radius, 1 at the kernel's edge, and s from 0 at the longest delay to 1 at none:
    ((1 + cos(pi r)) / 2)^(1/4) exp(-r^2 / (2 (2.5 (1 - s) + 0.05)^2)), and 0 beyond r = 1.
    """
    half = size // 2
    offset = np.arange(-half, half + 1) / (half + 0.5)
    r2 = (offset[:, None] ** 2 + offset[None, :] ** 2)[None]
    s = (1 - np.arange(delays) / max(delays - 1, 1))[:, None, None]
    window = np.where(r2 < 1, np.clip((1 + np.cos(np.pi * np.sqrt(np.minimum(r2, 1)))) / 2, 0, 1), 0) ** 0.25
    return window * np.exp(-r2 / (2 * (2.5 * (1 - s) + 0.05) ** 2))


def joined(parts: Sequence[tuple[Inputs, I64]]) -> tuple[Inputs, I64]:
    """Several movies' voxels as one batch."""
    return regression.join([inputs for inputs, _ in parts]), np.concatenate([truth for _, truth in parts])
