"""How plots look."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SATURATION, _VALUE = 0.75, 0.8
ON, OFF, INK, SOFT = "#b35900", "#0062b8", "#191c24", "#7a8191"
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "polychrony", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 10, "axes.titlelocation": "left",
}  # fmt: skip


def direction_colour(direction_rad: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The colour of a direction: hue goes around once, 0 = right, y grows downwards."""
    hue = np.mod(np.asarray(direction_rad, np.float64) / (2 * math.pi), 1)
    # HSV to RGB: how far red, green and blue are from their own third of the circle, in sixths of it.
    away = np.mod(6 * hue[..., None] + np.array([5.0, 3.0, 1.0]), 6)
    return _VALUE * (1 - _SATURATION * np.clip(np.minimum(away, 4 - away), 0, 1))
