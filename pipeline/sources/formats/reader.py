"""What a reader of one format is, and how it says what is wrong with a file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.packets import Events
from pipeline.sources.base import Policy, Reading, SourceError
from pipeline.spec import Sensor

CHUNK_BYTES = 2**20
CHUNK_EVENTS = 2**17
UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
MAX_X, MAX_Y = 65535, 32767


@dataclass(frozen=True)
class Options:
    """What a file does not say.

    Attributes:
        sensor: its pixel grid, or to overrule it.
        format: its format, where content does not tell.
        columns: the order of a table's columns, such as ``xytp``.
        time_unit: of a table's times: s, ms, us or ns.
        topic: which topic of a bag.
        policy: what becomes of what is wrong in it.
    """

    sensor: Sensor | None = None
    format: str | None = None
    columns: str | None = None
    time_unit: str | None = None
    topic: str | None = None
    policy: Policy = "repair"


@dataclass
class Faults:
    """What is wrong with a file: refused or counted, never passed over.

    Attributes:
        name: of the file, for messages.
        policy: what to do.
        counts: what was found so far.
    """

    name: str
    policy: Policy
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def found(self, what: str, n: int, sentence: str) -> None:
        """``n`` times something was wrong.

        Raises:
            SourceError: faults are errors here.
        """
        if n <= 0:
            return
        if self.policy == "error":
            raise self.error(sentence)
        self.counts[what] = self.counts.get(what, 0) + n

    def error(self, sentence: str) -> SourceError:
        """The one line that says why the file cannot be read."""
        return SourceError(f"{self.name}: {sentence}".splitlines()[0])


def is_broken(problem: BaseException) -> bool:
    """Whether a decoder met what it cannot decode: any exception, or a panic of a library's Rust code."""
    return isinstance(problem, Exception) or type(problem).__name__ == "PanicException"


class Guarded:
    """A reader whose decoder may throw anything: at its start the file is refused, later it is broken off.

    Args:
        open_reader: makes the reader.
        kind: its format, for messages.
        faults: where what is wrong is told.

    Raises:
        SourceError: it cannot be read.
    """

    def __init__(self, open_reader: Callable[[], Reader], kind: str, faults: Faults) -> None:
        self._kind, self._faults = kind, faults
        with self._refusing():
            self.reader = open_reader()

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        with self._refusing():
            parts = self.reader.parts()
        seen = False
        while True:
            try:
                part = next(parts)
            except StopIteration:
                return
            except SourceError:
                raise
            except BaseException as problem:
                if not is_broken(problem):
                    raise
                if not seen:
                    raise self._refused(problem) from problem
                self._faults.found("broken_off", 1, f"broken off: {_first_line(problem)}")
                return
            seen |= len(part.events[0]) > 0
            yield part

    @contextmanager
    def _refusing(self) -> Generator[None]:
        try:
            yield
        except SourceError:
            raise
        except BaseException as problem:
            if not is_broken(problem):
                raise
            raise self._refused(problem) from problem

    def _refused(self, problem: BaseException) -> SourceError:
        return self._faults.error(f"not a readable {self._kind} file: {_first_line(problem)}")


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__


class Reader(Protocol):
    """A recording in one format, in the order of its file.

    Attributes:
        sensor: the grid that the file states, if it does.
        epoch_ns: nanoseconds since 1970 at its time 0; 0 where unknown.
        details: what else is worth telling.
    """

    sensor: Sensor | None
    epoch_ns: int
    details: dict[str, float | int | str]

    def parts(self) -> Iterator[Reading]:
        """Events and triggers, in parts of bounded size; from the start whenever it is called.

        Raises:
            SourceError: it is not what it seems.
        """
        ...


class BaseReader:
    """What most readers share."""

    def __init__(self, path: Path, faults: Faults, options: Options) -> None:
        self.path, self.faults, self.options = path, faults, options
        self.sensor: Sensor | None = None
        self.epoch_ns = 0
        self.details: dict[str, float | int | str] = {}

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return max(self.path.stat().st_size, 1)


def sensor_of(width: int, height: int) -> Sensor | None:
    """A grid, where these can be one."""
    return Sensor(width=width, height=height) if 0 < width <= 65536 and 0 < height <= 32768 else None


def checked(columns: dict[str, NDArray[Any]], per_us: float, faults: Faults) -> Events:
    """A table's columns t, x, y, p in the house's types; rows that do not fit them are left out and counted.

    Args:
        columns: of any numeric type, equally long.
        per_us: us in one unit of t.
        faults: where rows that are left out are told.

    Raises:
        SourceError: a column is of no numeric type, or rows do not fit and that is an error.
    """
    t, x, y, p = (np.asarray(columns[name]) for name in "txyp")
    for name, column in zip("txyp", (t, x, y, p), strict=True):
        if column.dtype.kind not in "biuf":
            raise faults.error(f"{name} must be numbers, not {column.dtype}")
    good = np.ones(len(t), np.bool_)
    for column, largest in ((x, MAX_X), (y, MAX_Y)):
        if column.dtype.kind == "f":
            good &= column == np.floor(column)  # not a number is not equal to itself either
        good &= (column >= 0) & (column <= largest)
    if p.dtype.kind == "f":
        good &= np.isfinite(p)
    if t.dtype.kind == "f":
        good &= np.isfinite(t) & (np.abs(t) * per_us < 2**62)
    bad = len(good) - int(np.count_nonzero(good))
    if bad:
        faults.found(
            "dropped_unusable_rows", bad,
            f"{bad} rows with x outside 0 .. {MAX_X}, y outside 0 .. {MAX_Y} or values that are no numbers",
        )  # fmt: skip
        t, x, y, p = t[good], x[good], y[good], p[good]
    return _in_us(t, per_us), x.astype(np.uint16), y.astype(np.uint16), np.ascontiguousarray(p > 0)


def _in_us(t: NDArray[Any], per_us: float) -> NDArray[np.int64]:
    if t.dtype.kind == "f":
        return np.rint(t.astype(np.float64) * per_us).astype(np.int64)
    if t.dtype == np.uint64:
        t = np.minimum(t, np.uint64(2**62)).astype(np.int64)
    whole = t.astype(np.int64)
    if per_us >= 1:
        factor = int(per_us)
        limit = 2**62 // factor
        return np.clip(whole, -limit, limit) * factor
    return whole // round(1 / per_us)
