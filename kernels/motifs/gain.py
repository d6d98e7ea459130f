"""Evidence on one scale, whatever the contrast and the rate of events: each tile's own mean and spread, taken out.

Of the winner's evidence e of the rows of a tile, bin after bin, with b the mean over the rows since the last step and
d the time that has passed since,

    a = 1 - exp(-d / tau),   w <- w + a (1 - w),   m <- m + a/w (mean e - m),   v <- v + a/w (mean (e - m)^2 - v)

(w begins at 0, so that the first step forgets what was assumed), and a row becomes, with what was known before its
bin, so that rows of a bin have no order,

    out[c] = (e[c] - m) / sqrt(v) spread + mean

A step is taken once there are ``least`` rows. At rest sqrt(v) is 1 + g of the gains that whiten by g += eta (z^2 - 1)
(Duong, Lipshutz, Heeger, Chklovskii & Simoncelli, ICML 2023), without their ripple.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32, F64, I64, T

NEVER = -(2**62)
_NARROWEST = 0.1
"""The spread is never taken to be less than this share of what it is brought to: silence is not made loud."""


class Levels(NamedTuple):
    """What tiles are used to; updated in place.

    Attributes:
        mean: m [tile] float64.
        square: v [tile] float64.
        total: [tile] float64, sum of e over the rows since the last step.
        squares: [tile] float64, sum of (e - m)^2.
        weight: w [tile] float64.
        rows: [tile] int64, how many.
        bin_us: [tile] int64, the bin of the last row.
        step_us: [tile] int64, when the last step was taken; NEVER before the first row.
    """

    mean: F64
    square: F64
    total: F64
    squares: F64
    weight: F64
    rows: I64
    bin_us: I64
    step_us: I64


def new_levels(tiles: int, mean: float, spread: float) -> Levels:
    """Tiles that leave evidence as it is."""
    return Levels(
        np.full(tiles, mean), np.full(tiles, spread * spread), np.zeros(tiles), np.zeros(tiles),
        np.zeros(tiles), np.zeros(tiles, np.int64), np.full(tiles, NEVER, np.int64), np.full(tiles, NEVER, np.int64),
    )  # fmt: skip


def advance(
    t: T, tile: I64, evidence: F32, levels: Levels, mean: float, spread: float, tau_us: int, least: int
) -> F32:
    """The rows [n, class] on one scale.

    Args:
        t: ends of the rows' bins [n], never falling.
        tile: of the rows [n].
        evidence: [n, class], at least one class.
        levels: updated.
        mean: what the winners' evidence is brought to.
        spread: likewise.
        tau_us: the time constant.
        least: rows that a step needs.
    """
    out = np.empty_like(evidence)
    _advance(t, tile, evidence, levels, mean, spread, float(tau_us), least, out)
    return out


@kernel
def _advance(
    t: T, tile: I64, evidence: F32, levels: Levels, mean: float, spread: float, tau_us: float, least: int, out: F32
) -> None:  # fmt: skip
    narrowest = (_NARROWEST * spread) ** 2
    for i in range(t.size):
        k = tile[i]
        if levels.bin_us[k] != t[i]:
            _step(levels, k, tau_us, least)
            levels.bin_us[k] = t[i]
            if levels.step_us[k] == NEVER:
                levels.step_us[k] = t[i]
        m, factor = levels.mean[k], spread / math.sqrt(max(levels.square[k], narrowest))
        winner = evidence[i, 0]
        for c in range(evidence.shape[1]):
            winner = max(winner, evidence[i, c])
            out[i, c] = np.float32((evidence[i, c] - m) * factor + mean)
        levels.total[k] += winner
        levels.squares[k] += (winner - m) ** 2
        levels.rows[k] += 1


@kernel
def _step(levels: Levels, k: int, tau_us: float, least: int) -> None:
    """Take in the rows since the last step, which all lie in bins that are over."""
    n = levels.rows[k]
    if n < least:
        return
    share = -math.expm1(-max(1.0, float(levels.bin_us[k] - levels.step_us[k])) / tau_us)
    levels.weight[k] += share * (1 - levels.weight[k])
    share /= levels.weight[k]
    off = levels.total[k] / n - levels.mean[k]
    # Around the rows' own mean first: beside a mean that lies far off, what is left of two large squares is noise.
    around = max(levels.squares[k] / n - off * off, 0.0)
    left = (1 - share) * off
    levels.mean[k] += share * off
    levels.square[k] += share * (around + left * left - levels.square[k])
    levels.total[k], levels.squares[k], levels.rows[k] = 0.0, 0.0, 0
    levels.step_us[k] = levels.bin_us[k]
