"""Rows of results: their little-endian layout on the wire, in files and under a digest.

============  ================================================================================
detections    i64 t, u16 x, u16 y, u16 label, u16 flags, f32 score, u32 0           (24 bytes)
field         i64 t, u16 x, u16 y, f32 vx, f32 vy, f32 confidence, u32 flags, u32 0 (32 bytes)
evidence      i64 t, u16 x, u16 y, u32 0, then f32 per class
motion        i64 t, f32 vx, f32 vy, f32 zoom, f32 rotation, f32 confidence, u32 flags (32 bytes)
movers        i64 t, u16 x, u16 y, u16 width, u16 height, f32 vx, f32 vy, f32 confidence, u32 flags,
              u32 id, u32 tiles                                                    (40 bytes)
decisions     i64 t, i64 from_us, u16 label, u16 flags, f32 confidence, u32 events, u32 steps  (32 bytes)
triggers      i64 t, u16 channel, u16 level, u32 0                                 (16 bytes)
events        i64 t, u16 x, u16 y + 32768 p, u32 0                                  (16 bytes)
============  ================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.sha256 import Sha256
from kernels.ties import tie_order
from pipeline.packets import Columns, Kind
from pipeline.stage import Port

Rows = NDArray[Any]

_FIXED: dict[Kind, np.dtype[Any]] = {
    "detections": np.dtype(
        [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("label", "<u2"), ("flags", "<u2"),
         ("score", "<f4"), ("zero", "<u4")]
    ),
    "field": np.dtype(
        [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("vx", "<f4"), ("vy", "<f4"),
         ("confidence", "<f4"), ("flags", "<u4"), ("zero", "<u4")]
    ),
    "motion": np.dtype(
        [("t", "<i8"), ("vx", "<f4"), ("vy", "<f4"), ("zoom", "<f4"), ("rotation", "<f4"),
         ("confidence", "<f4"), ("flags", "<u4")]
    ),
    "movers": np.dtype(
        [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("width", "<u2"), ("height", "<u2"), ("vx", "<f4"), ("vy", "<f4"),
         ("confidence", "<f4"), ("flags", "<u4"), ("id", "<u4"), ("tiles", "<u4")]
    ),
    "decisions": np.dtype(
        [("t", "<i8"), ("from_us", "<i8"), ("label", "<u2"), ("flags", "<u2"), ("confidence", "<f4"),
         ("events", "<u4"), ("steps", "<u4")]
    ),
    "triggers": np.dtype([("t", "<i8"), ("channel", "<u2"), ("level", "<u2"), ("zero", "<u4")]),
    "events": np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("zero", "<u4")]),
}  # fmt: skip


def layout(port: Port) -> np.dtype[Any]:
    """The row of what comes out of ``port``."""
    if port.kind == "evidence":
        return np.dtype(
            [
                ("t", "<i8"),
                ("x", "<u2"),
                ("y", "<u2"),
                ("zero", "<u4"),
                ("evidence", "<f4", (len(port.labels),)),
            ]
        )
    return _FIXED[port.kind]


def pack(columns: Columns, port: Port) -> Rows:
    """Columns as rows."""
    rows = np.zeros(len(columns["t"]), layout(port))
    for name in rows.dtype.names or ():
        if name != "zero":
            rows[name] = columns[name]
    if port.kind == "events":
        rows["y"] |= columns["p"].astype(np.uint16) << np.uint16(15)
    return rows


def unpack(rows: Rows, port: Port) -> Columns:
    """Rows as contiguous columns."""
    columns = {name: rows[name].copy() for name in rows.dtype.names or () if name != "zero"}
    if port.kind == "events":
        columns["p"] = columns["y"] >= 32768
        columns["y"] &= np.uint16(32767)
    return columns


class RowDigest:
    """SHA-256 over an output's rows in canonical order (t, y, x, label), whatever the cuts.

    Rows come sorted by t; those of the last t wait until a later one shows that none is missing.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._hash = Sha256()
        self._waiting = np.zeros(0, layout(port))

    def add(self, rows: Rows) -> None:
        """Take in rows that are not earlier than those before."""
        if len(rows) == 0:
            return
        rows = np.concatenate([self._waiting, rows]) if len(self._waiting) else rows
        ready = int(np.searchsorted(rows["t"], rows["t"][-1], side="left"))
        self._hash.update(_canonical(rows[:ready]).tobytes())
        self._waiting = rows[ready:].copy()

    def hexdigest(self) -> str:
        """The digest of the rows so far."""
        final = self._hash.copy()
        final.update(_canonical(self._waiting).tobytes())
        return final.hexdigest()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that it knows."""
        return {**self._hash.snapshot(), "waiting": np.frombuffer(self._waiting.tobytes(), np.uint8).copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a snapshot."""
        self._hash.restore(arrays)
        self._waiting = np.frombuffer(arrays["waiting"].tobytes(), layout(self._port)).copy()


def _canonical(rows: Rows) -> Rows:
    """Rows sorted by (t, y, x, label); an event's polarity is its label; triggers by (t, channel, level)."""
    names = rows.dtype.names or ()
    if "channel" in names:
        key = rows["channel"].astype(np.uint64) << np.uint64(16) | rows["level"].astype(np.uint64)
        order = tie_order(rows["t"].astype(np.int64), key)
        return rows if order is None else rows[order]
    if "zoom" in names or "from_us" in names:  # one a window
        return rows
    y, polarity = rows["y"], np.zeros(1, np.uint64)
    if names == _FIXED["events"].names:
        y, polarity = y & np.uint16(32767), (y >> np.uint16(15)).astype(np.uint64)
    key = y.astype(np.uint64) << np.uint64(32) | rows["x"].astype(np.uint64) << np.uint64(16) | polarity
    if "label" in names:
        key |= rows["label"].astype(np.uint64)
    order = tie_order(rows["t"].astype(np.int64), key)
    return rows if order is None else rows[order]
