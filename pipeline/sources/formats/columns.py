"""Columns t, x, y and p of a table: which is which, in which unit, with which polarities; never guessed in silence.

Their order comes from names, from what is stated, or from the values where these fit one order alone. A time's unit
comes from its name or from what is stated, else by a rule: integers are us, others seconds; the rule is said, and a
rate that no camera has is warned of (:mod:`pipeline.sources.recording`).
"""

from __future__ import annotations

import math
import re
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.coding.events import first_fall
from pipeline.packets import Events
from pipeline.sources.base import Reading, SourceError
from pipeline.sources.formats.reader import MAX_X, MAX_Y, UNITS_US, BaseReader, Faults
from pipeline.sources.options import InputOptions, TimeUnit

MAX_T_US = 2**53 - 1
USUAL = "txyp"
"""The order of columns that have no names."""
_SYNONYMS = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "x_coordinate", "x_coordinates", "xs", "u"),
    "y": ("y", "y_coordinate", "y_coordinates", "ys", "v"),
    "p": ("p", "pol", "polarity", "polarities", "ps", "on"),
}
_UNIT_IN_NAME = re.compile(r"^(.*?)[ _(\[]+(s|ms|us|ns|µs)[)\]]?$")
_SPELLINGS = {
    "s": ("second", "sec"), "ms": ("millisecond", "msec", "milli"), "us": ("microsecond", "usec", "micro"),
    "ns": ("nanosecond", "nsec", "nano"),
}  # fmt: skip
_MINUS_ONE = (-1, 2**8 - 1, 2**16 - 1, 2**32 - 1, 2**64 - 1)
"""-1, and what becomes of it in unsigned types."""
_TOO_MANY, _TOO_MANY_SHARE = 10, 0.1
"""Rows at a table's start that may be unusable, before it is taken for something else."""
_SAMPLE = 4096
_FEW_FALLS = 0.02
"""Share of steps in which a column of times may fall."""
_CLOCK_END, _CLOCK_START = 2**32 - 2**29, 2**29
"""A fall from above the one to below the other is a 32-bit clock that begins again."""
_MOST_WRAPS = 8


def roles(names: list[str], faults: Faults) -> tuple[dict[str, str], str | None]:
    """Which of these columns is t, x, y and p, and the unit that the name of t tells.

    Raises:
        SourceError: two could be the same.
    """
    found: dict[str, list[tuple[str, str | None]]] = {}
    for name in names:
        plain = name.strip().lower()
        spelt = _UNIT_IN_NAME.match(plain)
        for role, synonyms in _SYNONYMS.items():
            if plain in synonyms:
                found.setdefault(role, []).append((name, None))
            elif role == "t" and spelt and spelt[1] in synonyms:
                found.setdefault(role, []).append((name, spelt[2].replace("µ", "u")))
    for role, candidates in found.items():
        exact = [one for one in candidates if one[0].strip().lower() == role]
        if len(candidates) > 1 and len(exact) != 1:
            listed = ", ".join(name for name, _ in candidates)
            raise faults.error(f"several columns could be {role}: {listed}: give --columns")
        found[role] = exact or candidates
    unit = found["t"][0][1] if "t" in found else None
    return {role: candidates[0][0] for role, candidates in found.items()}, unit


def unit_named(text: str) -> str:
    """The unit of time that a text names: ``us``, ``microseconds``, ``[ns]``, ``Nanoseconds since start`` ...

    Raises:
        ValueError: none that is known.
    """
    plain = text.lower().replace("µ", "u").replace("μ", "u")
    for word in re.finditer(r"[a-z]+", plain):
        for unit, spellings in _SPELLINGS.items():
            if word[0] == unit or word[0].rstrip("s") in spellings:
                return _with_factor(plain[: word.start()], unit, plain[word.end() :], text)
    raise ValueError(f"state the unit {text!r}, which is not known")


def _with_factor(before: str, unit: str, behind: str, text: str) -> str:
    """The unit that is so many of another: ``1e-6 s`` are us.

    Raises:
        ValueError: so many are no unit that is known, or how many is not said plainly.
    """
    number = before.strip(" [(*·x")
    if not re.search(r"[0-9/^]", number) and not re.match(r"\s*[*/^·]", behind):
        return unit
    try:
        us = float(number) * UNITS_US[unit]
    except ValueError:
        us = math.nan
    for known, known_us in UNITS_US.items():
        if math.isclose(us, known_us, rel_tol=1e-9):
            return known
    raise ValueError(f"state the unit {text.strip()!r}, which is none of {', '.join(UNITS_US)}")


def order_of(columns: list[NDArray[Any]], faults: Faults) -> str:
    """The order of columns without names, where the values fit the usual one and no other.

    Args:
        columns: the first rows of each column, at least four columns; those behind the fourth are skipped.
        faults: who says what is wrong.

    Raises:
        SourceError: they fit another order, several, or none; the line says how to state it.
    """
    looks = [_looks_like(column) for column in columns[:4]]
    if any("t" in look for look in looks) and any(_counts_up(column) for column in columns[4:]):
        raise faults.error(
            f"its {len(columns)} columns have no names, and more than one of them could be times or count rows: "
            f"give --columns, such as --columns {'_xypt' if len(columns) == 5 else 'txyp'}"
        )
    fitting = [
        "".join(order)
        for order in permutations("txyp")
        if order.index("x") < order.index("y")
        and all(role in look for role, look in zip(order, looks, strict=True))
    ]
    if fitting == [USUAL]:
        return USUAL + "_" * (len(columns) - 4)
    if not fitting:
        raise faults.error(
            "its columns have no names, and in no order are they t, x, y, p: give --columns, such as --columns xytp"
        )
    others = " or ".join(f"{','.join(order)} (--columns {order})" for order in fitting if order != USUAL)
    usual = f"the usual {','.join(USUAL)} (--columns {USUAL})"
    relation = f"{usual} as well as {others}" if USUAL in fitting else f"{others}, not {usual}"
    raise faults.error(
        f"its columns have no names; the values fit {relation}: state the order with --columns"
    )


def _counts_up(column: NDArray[Any]) -> bool:
    """Whether a column rises as times do: hardly ever falls, and takes many values."""
    return (
        "t" in _looks_like(column) and len(np.unique(column[:_SAMPLE])) > min(len(column), _SAMPLE) // 8 > 0
    )


def _looks_like(column: NDArray[Any]) -> str:
    """The roles that a column could have, by its values."""
    kind = column.dtype.kind
    if kind not in "biuf" or len(column) == 0:
        return ""
    values = column[:_SAMPLE].astype(np.float64)
    if not np.all(np.isfinite(values)):
        return ""
    found = ""
    falls = int(np.count_nonzero(np.diff(values) < 0))
    if falls <= _FEW_FALLS * len(values) or (kind == "u" and _wraps_in(column[:_SAMPLE])):
        found += "t"
    if np.all(values == np.floor(values)) and values.min() >= 0 and values.max() <= MAX_X:
        found += "xy"
    if _coding(np.unique(values)) is not None:
        found += "p"
    return found


def _wraps_in(column: NDArray[Any]) -> bool:
    t = column.astype(np.int64)
    return bool(np.count_nonzero(np.diff(t) < 0) <= _FEW_FALLS * len(t) + 1 and t.max() < 2**32)


def _coding(values: NDArray[np.float64]) -> str | None:
    """How these distinct values code polarity; None where they do not."""
    if all(value in {0.0, 1.0} for value in values):
        return "0/1"
    minus = [float(value) for value in _MINUS_ONE if float(value) in set(values.tolist())]
    return "-1/1" if len(minus) == 1 and all(value in {1.0, minus[0]} for value in values) else None


class TableReader(BaseReader):
    """What readers of tables share: pieces of columns become events, with what was learned from those before.

    A subclass sets ``unit`` where the file states one.
    """

    unit: str | None = None
    follows_wraps = True
    """Whether times that fall from the end of 32 bits to their start are a clock that begins again."""
    unit_of_rule: TimeUnit | None = None
    """What the rule says where a subclass knows better than from the type of the first piece."""
    _unit: TimeUnit | None = None
    _begun = False
    _zero_seen = False
    _minus_seen: int | None = None
    _last_low = -1
    _wraps = 0
    _rows = 0

    def begin(self) -> None:
        """Forget what was learned: reading starts again."""
        self._unit, self._begun, self._zero_seen, self._minus_seen = None, False, False, None
        self._last_low, self._wraps, self._rows = -1, 0, 0
        self.guessed_unit = None

    def reading(self, columns: dict[str, NDArray[Any]], done: float) -> Reading:
        """Events of the next rows.

        Raises:
            SourceError: columns of no use; the line names the column and its first bad cell.
        """
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1 or any(column.ndim != 1 for column in columns.values()):
            raise self.faults.error("t, x, y, p must be one-dimensional and equally long")
        return Reading(self._events(columns), done)

    def _events(self, columns: dict[str, NDArray[Any]]) -> Events:
        t, x, y, p = (np.asarray(columns[name]) for name in "txyp")
        if t.dtype.kind in "mM":
            t = self._from_calendar(t)
        for name, column in zip("txyp", (t, x, y, p), strict=True):
            if column.dtype.kind not in "biuf":
                raise self.faults.error(f"{name} must be numbers, not {column.dtype}")
        unit = self._decide_unit(t)
        good = {
            "t": _finite(t, UNITS_US[unit]), "x": _coordinate(x, MAX_X), "y": _coordinate(y, MAX_Y),
            "p": self._polarity_known(p),
        }  # fmt: skip
        masks = [mask for mask in good.values() if mask is not None]
        if masks:
            kept = np.logical_and.reduce(masks)
            self._leave_out(kept, good, {"t": t, "x": x, "y": y, "p": p})
            t, x, y, p = t[kept], x[kept], y[kept], p[kept]
        self._rows += len(next(iter(columns.values())))
        self._begun = True
        return (
            self._in_us(t, unit), x.astype(np.uint16, copy=False), y.astype(np.uint16, copy=False),
            p if p.dtype.kind == "b" else p == 1,
        )  # fmt: skip

    def refuse_order(self) -> None:
        """A table whose columns are named needs no order.

        Raises:
            SourceError: one was given.
        """
        if self.options.columns is not None:
            raise self.faults.error("its columns have names, which say what they are: leave out --columns")

    def _from_calendar(self, t: NDArray[Any]) -> NDArray[np.int64]:
        """us of a type that states its own unit."""
        if self.options.time_unit is not None:
            raise self.faults.error(f"t is {t.dtype}, which states its unit: leave out --time-unit")
        self.unit = "us"
        return t.astype(f"{t.dtype.kind}8[us]").astype(np.int64)

    def _decide_unit(self, t: NDArray[Any]) -> TimeUnit:
        """Once for the whole file: what integers begin as, later ones with a decimal point are too."""
        if self._unit is None:
            rule: TimeUnit = self.unit_of_rule or ("s" if t.dtype.kind == "f" else "us")
            stated = self.options.time_unit or self.unit
            self._unit = stated if stated in UNITS_US else rule  # pyright: ignore[reportAttributeAccessIssue]
            self.details["time_unit"] = self._unit or rule
            self.guessed_unit = None if stated in UNITS_US else rule
            self._refuse_what_is_too_large(t)
        return self._unit or "us"

    def _refuse_what_is_too_large(self, t: NDArray[Any]) -> None:
        if self.guessed_unit is None or len(t) == 0:
            return
        middle = float(np.median(t[:_SAMPLE]))
        if not middle * UNITS_US[self.guessed_unit] > MAX_T_US:
            return
        fitting = [unit for unit, us in UNITS_US.items() if middle * us <= MAX_T_US]
        advice = f"give --time-unit {fitting[0]}" if fitting else "no unit fits them"
        shown = int(t[0]) if t.dtype.kind in "iu" else float(t[0])
        raise self.faults.error(
            f"times such as {shown} are too large for {self.guessed_unit}, which neither the file nor --time-unit "
            f"states: {advice}"
        )

    def _polarity_known(self, p: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Which rows have a polarity; None for all.

        Raises:
            SourceError: OFF is written in two ways.
        """
        if p.dtype.kind == "b" or len(p) == 0:
            return None
        zero = p == 0
        good, zeros = (p == 1) | zero, int(np.count_nonzero(zero))
        if not good.all() or self._minus_seen is not None:
            for value in _minus_ones(p.dtype):
                minus = p == value
                n = int(np.count_nonzero(minus))
                if n and (self._minus_seen == value or not (zeros or self._zero_seen or self._minus_seen)):
                    self._minus_seen = value
                    good |= minus
                elif not _is_rare(n, len(p)):
                    raise self._two_codings(value)
            if self._minus_seen is not None and zeros:
                if not _is_rare(zeros, len(p)):
                    raise self._two_codings(0)
                good &= ~zero
                zeros = 0
        self._zero_seen = self._zero_seen or zeros > 0
        return None if good.all() else good

    def _two_codings(self, value: int) -> SourceError:
        other = self._minus_seen if self._minus_seen is not None else 0
        return self.faults.error(
            f"p holds both {other} and {value} for OFF; allowed are 0/1, -1/1 (-1 also as the largest unsigned "
            "value) and true/false"
        )

    def _leave_out(
        self,
        kept: NDArray[np.bool_],
        good: dict[str, NDArray[np.bool_] | None],
        columns: dict[str, NDArray[Any]],
    ) -> None:
        """Count rows that are no events; a table that begins with many of them is none.

        Raises:
            SourceError: there are too many, or any is an error here.
        """
        bad = len(kept) - int(np.count_nonzero(kept))
        if bad == 0:
            return
        column = next(name for name, mask in good.items() if mask is not None and not mask.all())
        row = int(np.argmin(good[column]))  # pyright: ignore[reportArgumentType, reportCallIssue]
        allowed = {
            "t": "finite times", "x": f"whole numbers 0 .. {MAX_X}", "y": f"whole numbers 0 .. {MAX_Y}",
            "p": "0/1, -1/1 and true/false",
        }[column]  # fmt: skip
        cell = columns[column][row]
        where = f"{column} is {cell} in row {self._rows + row + 1}"
        sentence = f"{bad} rows are no events: {where}; allowed are {allowed}"
        if too_many(bad, len(kept)) and not self._begun and self.faults.policy == "repair":
            # Of another coding of polarity only one half would be left.
            advice = "write OFF so" if column == "p" else "--on-fault drop leaves such rows out"
            raise self.faults.error(f"{sentence}; {advice}")
        self.faults.found("dropped_unusable_rows", bad, sentence)

    def _in_us(self, t: NDArray[Any], unit: str) -> NDArray[np.int64]:
        per_us = UNITS_US[unit]
        if t.dtype.kind == "f":
            return np.rint(t.astype(np.float64, copy=False) * per_us).astype(np.int64)
        if t.dtype == np.uint64:
            t = np.minimum(t, np.uint64(2**62)).astype(np.int64)
        whole = self._unwrapped(t.astype(np.int64, copy=False))
        if per_us == 1:
            return np.clip(whole, -(2**62), 2**62) if len(whole) and abs(int(whole[-1])) > 2**61 else whole
        if per_us > 1:
            factor = int(per_us)
            limit = 2**62 // factor
            return np.clip(whole, -limit, limit) * factor
        return whole // round(1 / per_us)

    def _unwrapped(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of a 32-bit clock that has begun again, which falls from near its end to near its start."""
        if len(t) == 0 or not self.follows_wraps:
            return t
        last, self._last_low = self._last_low, int(t[-1])
        if self._wraps == 0 and (last <= int(t[0])) and first_fall(np.ascontiguousarray(t)) < 0:
            return t
        if int(t.max()) >= 2**32 or int(t.min()) < 0:
            return t + (self._wraps << 32)
        before = np.concatenate([[last], t[:-1]])
        turns = ((before >= _CLOCK_END) & (t < _CLOCK_START)).astype(np.int64)
        if self._wraps or turns.any():
            turns -= (before < _CLOCK_START) & (t >= _CLOCK_END) & (before >= 0)
        if int(np.count_nonzero(turns)) > 2 * _MOST_WRAPS:
            return t + (self._wraps << 32)  # disorder, not a clock
        count = self._wraps + np.cumsum(turns)
        self._wraps = int(count[-1])
        if self._wraps:
            self.details["clock_wraps"] = self._wraps
        return t + (count << 32)


def too_many(bad: int, of: int) -> bool:
    """Whether so many of a table's first rows are of no use that it is taken for something else."""
    return bad > _TOO_MANY_SHARE * of and (bad > _TOO_MANY or bad == of)


def _minus_ones(kind: np.dtype[Any]) -> list[int]:
    """What -1 can be in a type."""
    if kind.kind == "f":
        return list(_MINUS_ONE)
    return [value for value in _MINUS_ONE if np.iinfo(kind).min <= value <= np.iinfo(kind).max]


def _is_rare(n: int, of: int) -> bool:
    """Whether so many rows are no more than a few broken ones."""
    return n == 0 or (n <= _TOO_MANY and n < _TOO_MANY_SHARE * of)


def _finite(t: NDArray[Any], per_us: float) -> NDArray[np.bool_] | None:
    if t.dtype.kind != "f":
        return None
    good = np.isfinite(t) & (np.abs(t.astype(np.float64, copy=False)) * per_us < 2**62)
    return None if good.all() else good


def _coordinate(column: NDArray[Any], largest: int) -> NDArray[np.bool_] | None:
    """Which cells are whole numbers from 0 to the largest; None for all."""
    kind = column.dtype
    if kind.kind == "b" or (kind.kind == "u" and np.iinfo(kind).max <= largest) or len(column) == 0:
        return None
    if kind.kind == "u" and int(column.max()) <= largest:
        return None
    if kind.kind == "i" and int(column.min()) >= 0 and int(column.max()) <= largest:
        return None
    good = (column >= 0) & (column <= largest)
    if kind.kind == "f":
        good &= column == np.floor(column)  # not a number is not equal to itself either
    return None if good.all() else good


def skipping(order: str) -> dict[str, int]:
    """Where each role stands in an order such as ``_xytp``."""
    return {role: order.index(role) for role in USUAL}


def unit_in_name(name: str) -> str | None:
    """The unit that the name of a column of times tells: ``t_ms``."""
    spelt = _UNIT_IN_NAME.match(name.strip().lower())
    return spelt[2].replace("µ", "u") if spelt else None


def stated_order(options: InputOptions, columns: int, faults: Faults) -> str | None:
    """The order that was given, checked against how many columns there are.

    Raises:
        SourceError: there are fewer columns.
    """
    order = options.columns
    if order is not None and len(order.rstrip("_")) > columns:
        raise faults.error(f"has {columns} columns where --columns {order} names more")
    return order
