"""faery's decoders, wrapped in one place (LGPL: imported, never copied)."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from pipeline.packets import Events


def columns_of(rows: Any) -> Events:
    """Columns of faery's rows; times beyond int64 come out below 0, where they are seen for what they are."""
    return (
        rows["t"].astype(np.int64), np.ascontiguousarray(rows["x"]),
        np.ascontiguousarray(rows["y"]), np.ascontiguousarray(rows["on"]).astype(np.bool_),
    )  # fmt: skip


def triggers_of(rows: Any) -> Triggers:
    """t, channel and level of faery's triggers."""
    if rows is None or len(rows) == 0:
        return no_triggers()
    names = rows.dtype.names
    made = np.zeros((len(rows), 3), np.int64)
    made[:, 0] = rows["t"]
    for column, candidates in ((1, ("id", "source")), (2, ("rising", "value", "on"))):
        for name in candidates:
            if name in names:
                made[:, column] = rows[name]
    return made
