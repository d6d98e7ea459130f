"""What a reader of one format is, and how it says what is wrong with a file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.errors import first_line
from pipeline.sensor import Sensor
from pipeline.sources.base import Policy, Reading, SourceError
from pipeline.sources.options import InputOptions

CHUNK_BYTES = 2**20
CHUNK_EVENTS = 2**17
UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
MAX_X, MAX_Y = 65535, 32767


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
                self._faults.found("broken_off", 1, f"broken off: {first_line(problem)}")
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
        return self._faults.error(f"not a readable {self._kind} file: {first_line(problem)}")


class Reader(Protocol):
    """A recording in one format, in the order of its file.

    Attributes:
        sensor: the grid that the file states, if it does.
        epoch_ns: nanoseconds since 1970 at its time 0; 0 where unknown.
        details: what else is worth telling.
        guessed_unit: the unit of time that a rule decided, where neither the file nor the user states it.
    """

    sensor: Sensor | None
    epoch_ns: int
    details: dict[str, float | int | str]
    guessed_unit: str | None

    def parts(self) -> Iterator[Reading]:
        """Events and triggers, in parts of bounded size; from the start whenever it is called.

        Raises:
            SourceError: it is not what it seems.
        """
        ...


class BaseReader:
    """What most readers share."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        self.path, self.faults, self.options = path, faults, options
        self.sensor: Sensor | None = None
        self.epoch_ns = 0
        self.guessed_unit: str | None = None
        self.details: dict[str, float | int | str] = {}

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return max(self.path.stat().st_size, 1)


def is_text(line: bytes) -> bool:
    """Whether a line of a header is text: events may begin with the byte that headers' lines begin with."""
    line = line.rstrip(b"\r\n").replace(b"\t", b" ")
    try:
        return line.decode().isprintable()
    except UnicodeDecodeError:
        return line.decode("latin-1").isprintable()


def sensor_of(width: int, height: int) -> Sensor | None:
    """A grid, where these can be one."""
    return Sensor(width=width, height=height) if 0 < width <= 65536 and 0 < height <= 32768 else None
