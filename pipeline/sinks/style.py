"""How plots look."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.colors import hsv_to_rgb
from numpy.typing import NDArray

ON, OFF, INK, SOFT = "#b35900", "#0062b8", "#191c24", "#7a8191"
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "polychrony", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 10, "axes.titlelocation": "left",
}  # fmt: skip


def direction_colour(direction_rad: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """The colour of a direction: hue goes around once, 0 = right, y grows downwards."""
    hue = np.mod(np.asarray(direction_rad) / (2 * math.pi), 1)
    return hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.75), np.full_like(hue, 0.8)], axis=-1))
