"""Where in the view the rows of a motion field are."""

from __future__ import annotations

import numpy as np

from kernels.columns import F64
from pipeline.packets import Columns
from pipeline.stage import Port


def places(tiles: Columns, field: Port) -> tuple[F64, F64]:
    """(x, y) of what the rows speak of, relative to the middle of the view, pixels."""
    middle = (field.tile - 1) / 2
    place = tiles.get("place")
    if place is None:
        place = np.stack([tiles["x"], tiles["y"]], axis=1) + middle
    return place[:, 0] - (field.width - 1) / 2, place[:, 1] - (field.height - 1) / 2
