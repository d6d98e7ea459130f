"""faery's decoders, wrapped in one place (LGPL: imported, never copied)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kernels.decode import Triggers, no_triggers
from pipeline.packets import Events
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import Faults

BROKEN = (RuntimeError, ValueError, OSError, OverflowError, TypeError, IndexError, KeyError, AssertionError)
"""What its decoders raise of files that are not what they seem."""


def columns_of(rows: Any) -> Events:
    """Columns of faery's rows; those later than int64 can hold come out as that."""
    return (
        np.minimum(rows["t"], np.uint64(2**63 - 1)).astype(np.int64), np.ascontiguousarray(rows["x"]),
        np.ascontiguousarray(rows["y"]), np.ascontiguousarray(rows["on"]).astype(np.bool_),
    )  # fmt: skip


def guarded(packets: Iterator[Any], faults: Faults, kind: str) -> Iterator[Any]:
    """The packets up to where the decoder gives up: from there on the file is broken off."""
    n = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except BROKEN as problem:
            sentence = f"not a readable {kind} file: {problem}"
            if n == 0:
                raise faults.error(sentence) from problem
            faults.found("broken_off", 1, f"broken off after {n} packets: {problem}")
            return
        n += 1
        yield packet


def parts_of_evt(path: Path, version: str, faults: Faults) -> Iterator[Reading]:
    """A raw recording through faery: events, and triggers beside them."""
    from faery.extension import evt  # noqa: PLC0415 - half a second that only such files need

    try:
        decoder = evt.Decoder(path, (65535, 32767), version)  # pyright: ignore[reportArgumentType]
    except BROKEN as problem:
        raise faults.error(f"not a readable {version} file: {problem}") from problem
    with decoder:
        for packet in guarded(iter(decoder), faults, version):
            events = packet.get("events")
            yield Reading(
                columns_of(events) if events is not None else columns_of(_none()), 0.0,
                triggers_of(packet.get("triggers")),
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


def _none() -> Any:
    return np.empty(0, [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])
