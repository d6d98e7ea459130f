"""From integer sums to probabilities, and to the rows that pass a threshold."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import F32, F64, I64

LEVEL, LAST = 0, 1
"""Places in the state of :func:`steered`."""

_NEVER = -(2.0**60)


def certainty(sums: F32, scale: float) -> F64:
    """The winner's softmax probability per row of integer sums [n, class]."""
    probability = np.empty(len(sums), np.float64)
    _certainty(sums, scale, probability)
    return probability


def new_level(level: float) -> F64:
    """The state of :func:`steered`: the threshold to begin with."""
    return np.array([level, _NEVER])


def steered(bins: I64, total: F32, target: float, step: float, state: F64) -> NDArray[np.bool_]:
    """Which rows reach a threshold that steers the number of those that do.

    Within a bin the threshold is constant. After a bin with n rows passing, m = target x bins since the last,

        threshold += step clip((n - m) / max(m, 1), -4, 4)

    so that in the long run n equals m. The bins are stream time, so the answer depends on nothing else.

    Args:
        bins: of the rows [n], never falling; a bin's rows come in one call.
        total: integer sums [n].
        target: rows a bin.
        step: by how much the threshold moves, in integer sums.
        state: [LEVEL, LAST], updated in place.
    """
    kept = np.empty(len(bins), np.bool_)
    _steered(bins, total, target, step, state, kept)
    return kept


@kernel
def _certainty(sums: F32, scale: float, probability: F64) -> None:
    for i in range(sums.shape[0]):
        largest = sums[i, 0]
        for c in range(1, sums.shape[1]):
            largest = max(largest, sums[i, c])
        total = 0.0
        for c in range(sums.shape[1]):
            total += math.exp((np.float64(sums[i, c]) - np.float64(largest)) * scale)
        probability[i] = 1.0 / total


@kernel
def _steered(bins: I64, total: F32, target: float, step: float, state: F64, kept: NDArray[np.bool_]) -> None:
    i = 0
    while i < bins.size:
        now, passed = bins[i], 0
        while i < bins.size and bins[i] == now:
            kept[i] = total[i] >= state[LEVEL]
            passed += np.int64(kept[i])
            i += 1
        since = 1.0 if state[LAST] == _NEVER else now - state[LAST]
        wanted = target * since
        change = (passed - wanted) / max(wanted, 1.0)
        state[LEVEL] += step * min(max(change, -4.0), 4.0)
        state[LAST] = now
