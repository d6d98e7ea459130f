"""Rows of results, laid out as ``pipeline/row_kinds.py`` says: packed, unpacked, and under a digest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.coding.stable_order import tie_order
from kernels.sha256 import Sha256
from pipeline.packets import Columns
from pipeline.row_kinds import ROW_KINDS
from pipeline.stage import Port

Rows = NDArray[Any]


def layout(port: Port) -> np.dtype[Any]:
    """The row of what comes out of ``port``."""
    kind = ROW_KINDS[port.kind]
    if not kind.per_class:
        return kind.layout
    return np.dtype([*kind.layout.descr, ("evidence", "<f4", (len(port.labels),))])


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
        self._port, self._order = port, ROW_KINDS[port.kind].order
        self._hash = Sha256()
        self._waiting = np.zeros(0, layout(port))

    def add(self, rows: Rows) -> None:
        """Take in rows that are not earlier than those before."""
        if len(rows) == 0:
            return
        rows = np.concatenate([self._waiting, rows]) if len(self._waiting) else rows
        ready = int(np.searchsorted(rows["t"], rows["t"][-1], side="left"))
        self._hash.update(_canonical(rows[:ready], self._order).tobytes())
        self._waiting = rows[ready:].copy()

    def hexdigest(self) -> str:
        """The digest of the rows so far."""
        final = self._hash.copy()
        final.update(_canonical(self._waiting, self._order).tobytes())
        return final.hexdigest()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that it knows."""
        return {**self._hash.snapshot(), "waiting": np.frombuffer(self._waiting.tobytes(), np.uint8).copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a snapshot."""
        self._hash.restore(arrays)
        self._waiting = np.frombuffer(arrays["waiting"].tobytes(), layout(self._port)).copy()


def _canonical(rows: Rows, order: tuple[str, ...]) -> Rows:
    """Rows of the same time sorted by the columns of their kind's order."""
    if not order:
        return rows
    key = np.zeros(len(rows), np.uint64)
    for name in order:
        key = key << np.uint64(16) | _sorted_by(rows, name, "p" in order).astype(np.uint64)
    places = tie_order(rows["t"].astype(np.int64), key)
    return rows if places is None else rows[places]


def _sorted_by(rows: Rows, name: str, signed: bool) -> NDArray[Any]:
    """A column that rows are sorted by; an event's polarity lies in bit 15 of its ``y``."""
    if name == "p":
        return rows["y"] >> np.uint16(15)
    return rows["y"] & np.uint16(32767) if name == "y" and signed else rows[name]
