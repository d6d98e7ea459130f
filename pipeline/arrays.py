"""Events as researchers have them, as columns in order of time and on the sensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from kernels.coding.events import first_fall, inside, survey
from pipeline.errors import UserError
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import SourceError
from pipeline.sources.formats.columns import TableReader, roles, skipping
from pipeline.sources.formats.reader import Faults
from pipeline.sources.options import InputOptions, TimeUnit, first_problem

_NAME = "events"
_KINDS = (np.int64, np.uint16, np.uint16, np.bool_)
_MAX_T_US = 2**53 - 1


class ArrayError(UserError, ValueError):
    """Arrays that are no events; the message says which, where and what is allowed."""


class Taken(NamedTuple):
    """Events that can be fed to an engine.

    Attributes:
        events: columns t, x, y, p in order of time.
        dropped: how many were left out, by reason.
        falls: places where time fell; ties keep their order.
    """

    events: Events
    dropped: dict[str, int]
    falls: int


def events_of(
    events: Any, sensor: Sensor, columns: str | None = None, unit: TimeUnit | None = None,
    on_fault: Literal["error", "drop"] = "error",
) -> Taken:  # fmt: skip
    """Columns of events in any of the usual forms; what is not in order of time is sorted.

    Columns of the house's types (int64, uint16, uint16, bool) are looked at and not copied.

    Args:
        events: a tuple or list t, x, y, p; a mapping, a data frame or a structured array with such names in any order
            (timestamp, polarity ... too); or an array [n, 4] with ``columns``.
        sensor: the pixel grid.
        columns: the order of an array's columns.
        unit: of the times: needed for floats, else us.
        on_fault: whether rows that are no events of this sensor are an error, or dropped and counted.

    Raises:
        ArrayError: they are no events, or not of this sensor.
    """
    try:
        options = InputOptions(columns=columns, time_unit=unit, on_fault=on_fault)
    except ValidationError as problem:
        raise ArrayError(": ".join(first_problem(problem))) from problem
    faults = Faults(_NAME, on_fault)
    try:
        parts, named = _apart(events, options, faults)
        taken = _typed(parts, options, faults, named)
    except SourceError as problem:
        raise ArrayError(str(problem)) from problem
    return _in_order(_on_sensor(taken, sensor, faults), faults)


def _apart(events: Any, options: InputOptions, faults: Faults) -> tuple[list[Any], str | None]:
    """The four columns of what holds them all, and the unit that the name of t tells."""
    if type(events).__name__ == "LazyFrame":
        raise ArrayError("a LazyFrame holds no rows yet: give its .collect()")
    names = _names(events)
    if names is not None and options.columns is None:
        found, unit = roles(names, faults)
        if len(found) < 4:
            raise ArrayError(f"needs t, x, y, p; there are {', '.join(names)}")
        return [events[found[role]] for role in "txyp"], unit
    if isinstance(events, tuple | list):
        parts: list[Any] = list(cast(Any, events))
        if len(parts) == 4 and all(np.ndim(part) == 1 for part in parts) and options.columns is None:
            return parts, None
    array = np.asarray(events)
    if array.ndim != 2 or array.shape[1] < 4:
        raise ArrayError(
            "events must be t, x, y, p, a mapping or structured array with these names, or an array [n, 4] with "
            f"columns=, not {array.dtype} {[*array.shape]}"
        )
    order = options.columns
    if order is None:
        raise ArrayError("an array [n, 4] needs columns=, such as columns='xytp' (_ skips one)")
    if len(order.rstrip("_")) > array.shape[1]:
        raise ArrayError(f"columns={order!r} names more than the {array.shape[1]} columns there are")
    return [array[:, skipping(order)[role]] for role in "txyp"], None


def _names(events: Any) -> list[str] | None:
    """The names of what has columns by name."""
    if isinstance(events, Mapping):
        return [str(key) for key in cast("Mapping[Any, Any]", events)]
    named = getattr(getattr(events, "dtype", None), "names", None)
    if named:
        return list(named)
    columns = getattr(events, "column_names", getattr(events, "columns", None))  # a table, a data frame
    return None if columns is None else [str(name) for name in columns]


def _typed(parts: list[Any], options: InputOptions, faults: Faults, unit: str | None) -> Events:
    """Columns of the house's types; a table's rules decide what they may be."""
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        raise ArrayError("masked arrays: take what is not masked with .compressed()")
    arrays = [np.asarray(part) for part in parts]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        listed = ", ".join(f"{role} {list(array.shape)}" for role, array in zip("txyp", arrays, strict=True))
        raise ArrayError(f"t, x, y, p must be one-dimensional and equally long, not {listed}")
    t, x, y, p = arrays
    plain = all(array.dtype == kind for array, kind in zip(arrays, _KINDS, strict=True))
    if not plain or (options.time_unit or unit) not in {None, "us"}:
        if t.dtype.kind == "f" and options.time_unit is None and unit is None and len(t):
            raise ArrayError(f"t is {t.dtype}: give unit='s', 'ms', 'us' or 'ns'")
        reader = TableReader(Path(_NAME), faults, options)
        reader.unit, reader.follows_wraps = unit, t.dtype.itemsize == 4
        t, x, y, p = reader.reading(dict(zip("txyp", arrays, strict=True)), 1.0).events
    return (
        np.ascontiguousarray(t, np.int64), np.ascontiguousarray(x, np.uint16), np.ascontiguousarray(y, np.uint16),
        np.ascontiguousarray(p, np.bool_),
    )  # fmt: skip


def _on_sensor(events: Events, sensor: Sensor, faults: Faults) -> Events:
    t, x, y, _ = events
    if len(t) == 0:
        return events
    lowest, highest, right, bottom = survey(t, x, y)
    if right >= sensor.width or bottom >= sensor.height:
        events = _kept(
            events, inside(x, y, sensor.width, sensor.height), "out_of_sensor",
            f"events lie outside the {sensor} sensor", faults,
        )  # fmt: skip
    if lowest < 0 or highest > _MAX_T_US:
        t = events[0]
        words = "times lie outside 0 .. 2^53 - 1 us: subtract the first time"
        events = _kept(events, (t >= 0) & (t <= _MAX_T_US), "beyond_time", words, faults)
    return events


def _kept(events: Events, kept: NDArray[np.bool_], what: str, words: str, faults: Faults) -> Events:
    t, x, y, p = events
    n, at = len(kept) - int(np.count_nonzero(kept)), int(np.argmin(kept))
    example = f"t={int(t[at])}, x={int(x[at])}, y={int(y[at])}"
    if faults.policy == "error":
        raise ArrayError(
            f"{n} of {len(kept)} {words}; event {at} is at {example}. on_fault='drop' leaves them out"
        )
    faults.found(what, n, words)
    return t[kept], x[kept], y[kept], p[kept]


def _in_order(events: Events, faults: Faults) -> Taken:
    t, x, y, p = events
    falls = 0
    if first_fall(t) >= 0:
        falls = int(np.count_nonzero(t[1:] < t[:-1]))
        order = np.argsort(t, kind="stable")
        events = t[order], x[order], y[order], p[order]
    return Taken(events, dict(faults.counts), falls)
