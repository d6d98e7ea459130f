"""Event recordings out, in bounded memory: EVT2, EVT3 and DAT by our own encoders, AEDAT4 and ES through
faery, HDF5 through h5py, npz, csv and Parquet as tables."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from kernels.coding import encode
from kernels.coding.encode import Encoder
from pipeline.errors import UserError
from pipeline.optional_imports import later
from pipeline.sensor import Sensor
from pipeline.sinks.tables import ParquetTable, as_columns, events_port
from pipeline.sources.base import Reading

pa = later("pyarrow", "writing CSV")
pc = later("pyarrow.csv", "writing CSV")


_MOST_MS = 10**8
"""Entries of an index of milliseconds: 28 hours."""


class CannotWrite(UserError):
    """A format that cannot hold a recording, or a place that cannot hold answers."""


Run = Callable[[Path, Iterable[Reading], "Goal"], None]
"""Writes readings to a path."""


class Written:
    """What went into a file.

    Attributes:
        events: how many.
        triggers: edges on trigger inputs that were written.
        triggers_left_out: those for which the format has no place.
    """

    def __init__(self) -> None:
        self.events = self.triggers = self.triggers_left_out = 0

    def pass_by(self, readings: Iterable[Reading], takes_triggers: bool = False) -> Iterator[Reading]:
        """The same readings, counted."""
        for reading in readings:
            self.events += len(reading.events[0])
            self.triggers += len(reading.triggers) if takes_triggers else 0
            self.triggers_left_out += 0 if takes_triggers else len(reading.triggers)
            if len(reading.events[0]) or len(reading.triggers):
                yield reading


def write(
    path: Path, readings: Iterable[Reading], sensor: Sensor, format_: str | None = None, epoch_ns: int = 0,
    index: bool = False,
) -> Written:  # fmt: skip
    """Write events to ``path``: a plain file appears by renaming, a link's target likewise; a FIFO, a device or
    standard output (``-``) is written to as it is, where the format needs no seeking.

    Args:
        path: where to.
        readings: events and triggers in order of time.
        sensor: the pixel grid.
        format_: a name of :data:`FORMATS`; by default what the suffix stands for.
        epoch_ns: nanoseconds since 1970 at stream time 0, where the format has a place for it.
        index: HDF5: as DSEC, times relative to ``t_offset`` and ``ms_to_idx``, the first event of each ms.

    Raises:
        CannotWrite: format or suffix are unknown, there are no events, the format cannot hold them, or the place
            cannot be written to in it.
    """
    suffix = path.suffix.lower()
    if format_ is None and suffix not in SUFFIXES:
        raise CannotWrite(
            f"{path.name}: cannot write {suffix or 'a file without suffix'}; allowed are {', '.join(SUFFIXES)}"
        )
    name = format_ or SUFFIXES[suffix]
    how = FORMATS[name]
    if index and name != "HDF5":
        raise CannotWrite(f"{path.name}: {name} has no index of milliseconds; allowed is HDF5")
    written = Written()
    goal = Goal(sensor, epoch_ns, index)
    counted = written.pass_by(readings, how.triggers)
    if str(path) == "-" or (path.exists() and not path.is_file()):
        _through(path, name, how, counted, goal)
        if written.events == 0:
            raise CannotWrite(f"{path}: there are no events to write")
    else:
        _beside(path, name, how, counted, goal, written)
    return written


@dataclass(frozen=True)
class Goal:
    """What a file shall say of itself; see :func:`write`."""

    sensor: Sensor
    epoch_ns: int
    index: bool


def _beside(
    path: Path, name: str, how: Format, readings: Iterator[Reading], goal: Goal, written: Written
) -> None:
    try:
        target = path.resolve()
    except (RuntimeError, OSError) as problem:
        raise CannotWrite(f"{path}: {problem}") from problem
    own = next(mark for mark, one in SUFFIXES.items() if one == name) if name in SUFFIXES.values() else ".raw"
    part = target.with_name(f".{target.stem}.part{own}")  # faery goes by the suffix
    try:
        with _in_one_line(path.name):
            how.run(part, readings, goal)
            if written.events == 0:
                raise CannotWrite("there are no events to write")
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _through(path: Path, name: str, how: Format, readings: Iterator[Reading], goal: Goal) -> None:
    if path.is_dir():
        raise CannotWrite(f"{path}: a folder; name a file in it")
    if not how.streams:
        streaming = ", ".join(one for one, format_ in FORMATS.items() if format_.streams)
        raise CannotWrite(
            f"{path}: not a plain file, and {name} is not written from start to end; allowed are {streaming}"
        )
    with _in_one_line(str(path)):
        how.run(path, readings, goal)


@contextmanager
def _in_one_line(name: str) -> Generator[None]:
    try:
        yield
    except CannotWrite as problem:
        raise CannotWrite(f"{name}: {problem}") from problem
    except UserError:  # of the input, and it says so
        raise
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise CannotWrite(f"{name}: {problem.strerror or problem}") from problem
    except (RuntimeError, ValueError, OverflowError) as problem:  # an encoder's own words
        raise CannotWrite(f"{name}: cannot be written: {problem}") from problem


@contextmanager
def _opened(path: Path) -> Generator[IO[bytes]]:
    """A file, or standard output, to be written from start to end."""
    if str(path) == "-":
        # Not sys.stdout.buffer: with PYTHONUNBUFFERED that is raw, and a signal cuts what it writes short.
        with open(1, "wb", closefd=False) as out:
            yield out
    else:
        with path.open("wb") as file:
            yield file


def _evt(version: str, word_bytes: int) -> Run:
    def run(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
        encoder, sensor = Encoder(word_bytes), goal.sensor
        with _opened(path) as file:
            name = f"EVT{version[0]}"
            file.write(
                f"% evt {version}\n% format {name};height={sensor.height};width={sensor.width}\n"
                f"% geometry {sensor.width}x{sensor.height}\n% end\n".encode()
            )
            for reading in readings:
                try:
                    file.write(encode.encode(encoder, reading.events, reading.triggers))
                except ValueError as problem:
                    hint = "; subtract the first time with --zero-time" if "wrap" in str(problem) else ""
                    raise CannotWrite(f"{name} {problem}{hint}") from problem

    return run


def _dat(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    with _opened(path) as file:
        file.write(
            b"% Data file containing CD events.\n% Version 2\n"
            + f"% Height {goal.sensor.height}\n% Width {goal.sensor.width}\n".encode()
            + bytes([12, 8])
        )
        newest = 0
        for reading in readings:
            t, x, y, p = reading.events
            if len(t) == 0:
                continue
            if max(int(x.max()), int(y.max())) >= 2**14:
                raise CannotWrite("DAT holds columns and rows below 16384")
            # Its 32-bit clock wraps: whoever reads it counts the falls, and misses a silence of an hour.
            if int(np.diff(t, prepend=newest).max()) >= 2**31:
                raise CannotWrite(
                    "DAT cannot hold a step of 2^31 us; subtract the first time with --zero-time"
                )
            newest = int(t[-1])
            rows = np.empty((len(t), 2), "<u4")
            rows[:, 0] = t & 0xFFFFFFFF
            rows[:, 1] = x.astype(np.uint32) | y.astype(np.uint32) << 14 | p.astype(np.uint32) << 28
            file.write(rows.tobytes())


def _aedat4(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    _through_faery(path, readings, goal.sensor, 2**53)


def _es(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    _through_faery(path, readings, goal.sensor, 2**34)


def _through_faery(path: Path, readings: Iterable[Reading], sensor: Sensor, largest_us: int) -> None:
    import faery  # noqa: PLC0415 - half a second that only such files need
    from faery import file_encoder  # noqa: PLC0415

    def stream() -> Iterator[Any]:
        for reading in readings:
            t, x, y, p = reading.events
            if len(t) and int(t[-1]) >= largest_us:
                raise CannotWrite(
                    f"{path.suffix} holds times below {largest_us} us, not {int(t[-1])}; "
                    "subtract the first event's time with --zero-time"
                )
            rows = np.empty(len(t), faery.EVENTS_DTYPE)
            rows["t"], rows["x"], rows["y"], rows["on"] = t, x, y, p
            yield rows

    file_encoder.events_to_file(
        stream(), path, (sensor.width, sensor.height), zero_t0=False, use_write_suffix=False
    )


def _hdf5(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["width"], file.attrs["height"] = goal.sensor.width, goal.sensor.height
        file.attrs["epoch_ns"] = goal.epoch_ns
        group = file.create_group("events")
        sets = {
            name: _growing(group, name, kind)
            for name, kind in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"))
        }
        sets["t"].attrs["units"] = "us"
        milliseconds = _Milliseconds(file) if goal.index else None
        for reading in readings:
            t, x, y, p = reading.events
            if milliseconds is not None:
                t = milliseconds.take(t)
            for name, column in zip("txyp", (t, x, y, p), strict=True):
                _append(sets[name], column)
        if milliseconds is not None:
            milliseconds.close()


class _Milliseconds:
    """DSEC's index: entry k is the first event at or after k ms behind ``t_offset``, the time of the first event."""

    def __init__(self, file: Any) -> None:
        self._file, self._set = file, _growing(file, "ms_to_idx", "<u8")
        self._offset_us: int | None = None
        self._events = self._next_ms = 0

    def take(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times relative to the offset; their entries are written."""
        if len(t) == 0:
            return t
        if self._offset_us is None:
            self._offset_us = int(t[0])
            self._file["t_offset"] = np.int64(self._offset_us)
        t = t - self._offset_us
        last_ms = int(t[-1]) // 1000
        if last_ms > _MOST_MS:
            raise CannotWrite(f"an index of {last_ms} ms is larger than {_MOST_MS}: leave out --ms-index")
        marks = np.arange(self._next_ms, last_ms + 1) * 1000
        _append(self._set, np.searchsorted(t, marks) + self._events)
        self._next_ms = last_ms + 1
        self._events += len(t)
        return t

    def close(self) -> None:
        """One entry behind the last event, so that every ms has an end."""
        _append(self._set, np.array([self._events]))


def _growing(group: Any, name: str, kind: str) -> Any:
    return group.create_dataset(
        name,
        (0,),
        kind,
        maxshape=(None,),
        chunks=(65536,),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )


def _append(data: Any, column: NDArray[Any]) -> None:
    n = len(data)
    data.resize(n + len(column), axis=0)
    data[n:] = column


def _npz(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    """Columns one after the other, as a zip wants them: they wait on disk until all are there."""
    with TemporaryDirectory(dir=path.parent, prefix=".npz-") as folder:
        kinds = {"t": "<i8", "x": "<u2", "y": "<u2", "p": "|b1"}
        files = {name: (Path(folder) / name).open("wb+") for name in kinds}
        n = 0
        for reading in readings:
            n += len(reading.events[0])
            for name, column in zip("txyp", reading.events, strict=True):
                files[name].write(column.astype(kinds[name], copy=False).tobytes())
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, file in files.items():
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _array_header(member, kinds[name], n)
                    shutil.copyfileobj(file, member, 2**20)
                file.close()
            for name, values in (
                ("sensor", [goal.sensor.width, goal.sensor.height]),
                ("epoch_ns", [goal.epoch_ns]),
            ):
                with archive.open(f"{name}.npy", "w") as member:
                    _array_header(member, "<i8", len(values))
                    member.write(np.array(values, "<i8").tobytes())


def _array_header(file: IO[bytes], kind: str, n: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": (n,)})


def _csv(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    schema = pa.schema([("t", pa.int64()), ("x", pa.uint16()), ("y", pa.uint16()), ("p", pa.uint8())])
    with _opened(path) as raw:
        raw.write(f"# sensor: {goal.sensor.width}x{goal.sensor.height}\n".encode())
        with pc.CSVWriter(raw, schema, write_options=pc.WriteOptions(quoting_header="none")) as file:
            for reading in readings:
                columns = zip(reading.events, schema, strict=True)
                arrays = [pa.array(column.astype(entry.type.to_pandas_dtype())) for column, entry in columns]
                file.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _parquet(path: Path, readings: Iterable[Reading], goal: Goal) -> None:
    with ParquetTable(path, events_port(goal.sensor)) as table:
        for reading in readings:
            table.add(as_columns(reading.events))


class Format(NamedTuple):
    """A format that is written.

    Attributes:
        triggers: it holds them.
        streams: it is written from start to end, without seeking.
        run: writes it.
    """

    triggers: bool
    streams: bool
    run: Run


FORMATS: dict[str, Format] = {
    "EVT2": Format(True, True, _evt("2.0", 4)), "EVT3": Format(True, True, _evt("3.0", 2)),
    "DAT": Format(False, True, _dat), "AEDAT4": Format(False, False, _aedat4), "ES": Format(False, False, _es),
    "HDF5": Format(False, False, _hdf5), "npz": Format(False, False, _npz), "csv": Format(False, True, _csv),
    "Parquet": Format(False, False, _parquet),
}  # fmt: skip
"""Formats that are written."""

SUFFIXES = {
    ".raw": "EVT3", ".dat": "DAT", ".aedat4": "AEDAT4", ".es": "ES", ".h5": "HDF5", ".hdf5": "HDF5",
    ".npz": "npz", ".csv": "csv", ".txt": "csv", ".parquet": "Parquet",
}  # fmt: skip
"""What a suffix stands for; EVT2 is written where it is asked for."""
