"""Events as researchers have them, as the columns t, x, y, p that are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Columns = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]
UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "x_coordinate", "x_coordinates", "u"),
    "y": ("y", "ys", "y_coordinate", "y_coordinates", "v"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
_UNIT_IN_NAME = re.compile(r"^(.*?)[ _(\[]+(s|ms|us|ns|µs)[)\]]?$")
_LARGEST = {"t": 2**53 - 1, "x": 65535, "y": 32767}
_CLOCK_END, _CLOCK_START = 2**32 - 2**29, 2**29
_MINUS_ONE = (-1, 2**8 - 1, 2**16 - 1, 2**32 - 1, 2**64 - 1)


def columns_of(
    events: Any, x: ArrayLike | None = None, y: ArrayLike | None = None, p: ArrayLike | None = None,
    columns: str | None = None, unit: str | None = None,
) -> Columns:  # fmt: skip
    """Columns t (int64 us), x, y (uint16), p (bool) of events in any of these forms.

    Args:
        events: times [n] with ``x``, ``y`` and ``p`` beside them; or all four: a tuple, a mapping, a data frame or a
            structured array with the usual names in any order, or an array [n, 4] with ``columns``.
        x: pixel columns [n], whole numbers 0 .. 65535.
        y: pixel rows [n], whole numbers 0 .. 32767.
        p: polarities [n]: 0/1, -1/1 (-1 also as the largest unsigned value) or booleans.
        columns: the order of an array's columns, such as ``xytp``; ``_`` skips one.
        unit: of the times: s, ms, us or ns; integers are us where it is not given.

    Raises:
        ValueError: they are no events; the sentence says which and what is allowed.
    """
    if x is not None or y is not None or p is not None:
        if x is None or y is None or p is None:
            raise ValueError("t, x, y and p are needed, or all of them in one")
        taken, named = {"t": events, "x": x, "y": y, "p": p}, None
    else:
        taken, named = _apart(events, columns)
    if any(isinstance(column, np.ma.MaskedArray) for column in taken.values()):
        raise ValueError("masked arrays: take what is not masked with .compressed()")
    arrays = {role: np.asarray(column) for role, column in taken.items()}
    n = arrays["t"].shape[0] if arrays["t"].ndim == 1 else -1
    if any(array.shape != (n,) for array in arrays.values()):
        shapes = ", ".join(f"{role} {array.shape}" for role, array in arrays.items())
        raise ValueError(f"t, x, y, p must be one-dimensional and equally long, not {shapes}")
    return (
        _times(arrays["t"], unit or named), _whole("x", arrays["x"]), _whole("y", arrays["y"]), _polarity(arrays["p"])
    )  # fmt: skip


def _apart(events: Any, columns: str | None) -> tuple[dict[str, Any], str | None]:
    """The four columns of what holds all of them, and the unit that the name of t tells."""
    if type(events).__name__ == "LazyFrame":
        raise ValueError("a LazyFrame holds no rows yet: give its .collect()")
    names = _names_of(events)
    if names is not None and columns is None:
        found, unit = _named(names)
        return {role: events[name] for role, name in found.items()}, unit
    if isinstance(events, tuple | list) and len(events) == 4 and np.ndim(events[0]) == 1 and columns is None:
        return dict(zip("txyp", events, strict=True)), None
    array = np.asarray(events)
    if array.ndim != 2 or array.shape[1] < 4:
        raise ValueError(
            "events must be t, x, y, p, a mapping or structured array with these names, or an array [n, 4] with "
            f"columns=, not {array.dtype} {[*array.shape]}"
        )
    if columns is None or sorted(columns.replace("_", "")) != sorted("txyp"):
        raise ValueError("an array [n, 4] needs columns=, such as columns='xytp' (_ skips one)")
    if len(columns.rstrip("_")) > array.shape[1]:
        raise ValueError(f"columns={columns!r} names more columns than the array's {array.shape[1]}")
    return {role: array[:, columns.index(role)] for role in "txyp"}, None


def _names_of(events: Any) -> list[Any] | None:
    """The names of what has columns by name: a mapping, a structured array, a table, a data frame."""
    if isinstance(events, Mapping):
        return list(events)
    if names := getattr(getattr(events, "dtype", None), "names", None):
        return list(names)
    columns = getattr(events, "column_names", getattr(events, "columns", None))
    return None if columns is None else list(columns)


def _named(names: list[Any]) -> tuple[dict[str, Any], str | None]:
    """The column that each role has, and the unit in the name of t."""
    plain = {name: str(name).strip().lower() for name in names}
    listed = ", ".join(str(name) for name in names)
    spelt = {name: _UNIT_IN_NAME.match(text) for name, text in plain.items()}
    units = {
        name: match[2].replace("µ", "u") for name, match in spelt.items() if match and match[1] in _NAMES["t"]
    }
    found: dict[str, Any] = {}
    for role, synonyms in _NAMES.items():
        fitting = [name for name in names if plain[name] in synonyms or (role == "t" and name in units)]
        exact = [name for name in fitting if plain[name] == role]
        if len(exact or fitting) != 1:
            several = ", ".join(str(name) for name in fitting)
            raise ValueError(
                f"{f'several fields ({several})' if several else 'no field'} for {role}; there are {listed}"
            )
        found[role] = (exact or fitting)[0]
    return found, units.get(found["t"])


def _times(t: NDArray[Any], unit: str | None) -> NDArray[np.int64]:
    if unit is not None and unit not in UNITS_US:
        raise ValueError(f"unit must be one of {', '.join(UNITS_US)}, not {unit!r}")
    if len(t) == 0:
        return np.empty(0, np.int64)
    if t.dtype.kind in "mM":
        if unit is not None:
            raise ValueError(f"t is {t.dtype}, which states its unit: leave out unit=")
        t, unit = t.astype(f"{t.dtype.kind}8[us]").astype(np.int64), "us"
    if t.dtype == np.uint32:
        # A fall from near the end to near the start is a clock that began again: sorting would move what follows.
        again = np.flatnonzero((t[:-1] >= _CLOCK_END) & (t[1:] < _CLOCK_START))
        if len(again):
            raise ValueError(
                f"t is a 32-bit clock that begins again at event {int(again[0]) + 1}: add 2**32 from there on, as "
                "int64"
            )
    if t.dtype.kind in "iu":
        per_us = UNITS_US[unit or "us"]
        _within("t", t, _LARGEST["t"] / per_us, f" {unit or 'us'}")
        whole = t.astype(np.int64, copy=False)
        return whole * int(per_us) if per_us > 1 else whole if per_us == 1 else whole // round(1 / per_us)
    if t.dtype.kind != "f":
        raise ValueError(f"t must be numbers, not {t.dtype}")
    if unit is None:
        raise ValueError(f"t is {t.dtype}: give unit='s', 'ms', 'us' or 'ns'")
    _within("t", t, _LARGEST["t"] / UNITS_US[unit], f" {unit}")
    return np.rint(t.astype(np.float64, copy=False) * UNITS_US[unit]).astype(np.int64)


def _whole(name: str, column: NDArray[Any]) -> NDArray[np.uint16]:
    if len(column) == 0 or (column.dtype == np.uint16 and name == "x"):
        return column.astype(np.uint16, copy=False)
    if column.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be whole numbers, not {column.dtype}")
    _within(name, column, _LARGEST[name])
    if column.dtype.kind == "f" and not np.array_equal(column, np.floor(column)):
        at = int(np.argmax(column != np.floor(column)))
        raise ValueError(f"{name} must be whole numbers, not {column[at]} (event {at})")
    return column.astype(np.uint16, copy=False)


def _within(name: str, column: NDArray[Any], largest: float, unit: str = "") -> None:
    low, high = column.min(), column.max()
    if not (low >= 0 and high <= largest):  # not a number fails, too
        bad = ~((column >= 0) & (column <= largest))
        at = int(np.argmax(bad))
        raise ValueError(
            f"{name} must lie in 0 .. {largest:.0f}{unit}, not {column[at]} (event {at}, and "
            f"{int(np.count_nonzero(bad)) - 1} more)"
        )


def _polarity(p: NDArray[Any]) -> NDArray[np.bool_]:
    if p.dtype == np.bool_ or len(p) == 0:
        return p.astype(np.bool_, copy=False)
    if p.dtype.kind not in "iuf":
        raise ValueError(f"p must be 0/1, -1/1 or booleans, not {p.dtype}")
    on = p == 1
    off = p[~on]
    if (len(off) and not np.all(off == off[0])) or (
        len(off) and float(off[0]) not in {0.0, *map(float, _MINUS_ONE)}
    ):
        shown = ", ".join(str(value) for value in np.unique(p)[:6])
        raise ValueError(
            f"p must be 0/1, -1/1 (-1 also as the largest unsigned value) or booleans; it holds {shown}"
        )
    return on
