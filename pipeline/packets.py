"""What flows between stages: a kind, its columns, and how far time has come.

=============  ==============================================================================
kind           columns (all [n])
=============  ==============================================================================
events         t int64 us, x uint16, y uint16, p bool (true = ON)
detections     t int64 us (end of the bin), x, y, label, flags uint16, score float32
field          t int64 us (end of the window), x, y uint16 (the tile's origin), vx, vy float32
               px/ms, confidence float32, flags uint32; within a pipeline also place float64
               [n, 2], the pixel (x, y) that the velocity is of, where it is not the tile's middle
evidence       t int64 us (end of the bin), x, y uint16, evidence float32 [n, class],
               flags uint16
motion         t int64 us (end of the window), vx, vy float32 px/ms, zoom float32 1/s, rotation
               float32 rad/s, confidence float32, flags uint32: one movement of the whole view
movers         t int64 us (end of the window), x, y, width, height uint16 (the box), vx, vy float32
               px/ms, confidence float32, flags uint32, id uint32, tiles uint32: a thing that moves
               by itself
triggers       t int64 us, channel uint16, level uint16: an edge on a trigger input
decisions      t int64 us (when it was made), from_us int64 (where what it is about began), label,
               flags uint16, confidence float32, events uint32 and steps uint32 that were seen
=============  ==============================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.columns import XY, P, T
from pipeline.row_kinds import ROW_KINDS, Kind

Columns = dict[str, NDArray[Any]]
Events = tuple[T, XY, XY, P]
"""The columns (t, x, y, p) of a recording, or of a part of one."""

WARM_UP, AFTER_GAP, UNRELIABLE, EARLY, APERTURE = 1, 2, 4, 8, 16
"""Flags of a row: its past is not complete; because of a gap; from video too slow to show motion; decided early; of
a tile that saw one orientation alone, so that the movement along it is unknown."""


@dataclass(frozen=True)
class Gap:
    """A hole in the stream: nothing is known of the time between."""

    from_us: int
    to_us: int


@dataclass(frozen=True)
class Packet:
    """Rows of one kind, sorted by time; a packet without rows says how far time has come.

    Attributes:
        kind: what the rows are.
        columns: see the table above.
        watermark_us: no later row is earlier than this.
        gaps: holes that lie before the rows of this packet.
        port: the port of the stage that sent it; "" is its main one.
    """

    kind: Kind
    columns: Columns
    watermark_us: int
    gaps: tuple[Gap, ...] = field(default=())
    port: str = ""

    def __len__(self) -> int:
        return len(self.columns["t"])

    def keep(self, mask: NDArray[np.bool_]) -> Packet:
        """The rows under ``mask``; itself where that is all of them."""
        if mask.all():
            return self
        return replace(self, columns={name: column[mask] for name, column in self.columns.items()})

    def with_columns(self, **columns: NDArray[Any]) -> Packet:
        """The same packet with some columns replaced."""
        return replace(self, columns={**self.columns, **columns})


def events(columns: Events, watermark_us: int, gaps: tuple[Gap, ...] = ()) -> Packet:
    """A packet of events."""
    t, x, y, p = columns
    return Packet("events", {"t": t, "x": x, "y": y, "p": p}, watermark_us, gaps)


def no_events() -> Events:
    """Columns without rows."""
    return np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.bool_)


def join(parts: list[Events]) -> Events:
    """Columns one after the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return no_events()
    t, x, y, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return t, x, y, p


def cut(columns: Events, start: int, stop: int) -> Events:
    """Rows ``start`` to ``stop``, as views."""
    t, x, y, p = columns
    return t[start:stop], x[start:stop], y[start:stop], p[start:stop]


def decisions(rows: list[tuple[Any, ...]]) -> Columns:
    """Columns of decisions from (t, from_us, label, flags, confidence, events, steps)."""
    table = list(zip(*rows, strict=True)) if rows else [()] * 7
    names = ("t", "from_us", "label", "flags", "confidence", "events", "steps")
    return {
        name: np.array(column, ROW_KINDS["decisions"].columns[name])
        for name, column in zip(names, table, strict=True)
    }  # fmt: skip
