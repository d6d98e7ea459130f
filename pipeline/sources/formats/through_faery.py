"""faery's decoders, wrapped in one place (LGPL: imported, never copied)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.decode import Triggers, no_triggers
from pipeline.packets import Events
from pipeline.sources.formats.reader import Faults

BROKEN = (RuntimeError, ValueError, OSError, OverflowError, TypeError, IndexError, KeyError, AssertionError)
"""What its decoders raise of files that are not what they seem."""


def is_broken(problem: BaseException) -> bool:
    """Whether a decoder has met what it cannot decode; a panic of its Rust code is no Exception."""
    return isinstance(problem, BROKEN) or type(problem).__name__ == "PanicException"


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
        except BaseException as problem:
            if not is_broken(problem):
                raise
            sentence = f"not a readable {kind} file: {problem}"
            if n == 0:
                raise faults.error(sentence) from problem
            faults.found("broken_off", 1, f"broken off after {n} packets: {problem}")
            return
        n += 1
        yield packet


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
