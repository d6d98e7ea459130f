"""Events as tables: npz, npy, csv and Parquet, read piece by piece."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.optional import later
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import (
    CHUNK_BYTES,
    CHUNK_EVENTS,
    UNITS_US,
    BaseReader,
    Faults,
    Options,
    checked,
    sensor_of,
)

pa = later("pyarrow", "reading tables")
pc = later("pyarrow.csv", "reading CSV")
pq = later("pyarrow.parquet", "reading Parquet")

_SYNONYMS = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "x_coordinate", "x_coordinates", "xs", "u"),
    "y": ("y", "y_coordinate", "y_coordinates", "ys", "v"),
    "p": ("p", "pol", "polarity", "polarities", "ps", "on"),
}
_UNIT_IN_NAME = re.compile(r"^(.*?)[ _(\[]+(s|ms|us|ns|µs)[)\]]?$")
_LONGEST_LINE = 65_536
_MAX_UNZIPPED = 64 * 2**30


def roles(names: list[str]) -> tuple[dict[str, str], str | None]:
    """Which of these columns is t, x, y and p, and the unit that the name of t tells."""
    found: dict[str, str] = {}
    unit: str | None = None
    for name in names:
        plain = name.strip().lower()
        spelt = _UNIT_IN_NAME.match(plain)
        stem = spelt[1] if spelt else plain
        for role, synonyms in _SYNONYMS.items():
            if role not in found and (plain in synonyms or (role == "t" and stem in synonyms)):
                found[role] = name
                if role == "t" and spelt and plain not in synonyms:
                    unit = spelt[2].replace("µ", "u")
    return found, unit


def per_us(options: Options, unit: str | None, is_float: bool) -> float:
    """us in one unit of a table's times: as given, as the column is named, else us (of floats, seconds)."""
    return UNITS_US[options.time_unit or unit or ("s" if is_float else "us")]


def given_order(options: Options, faults: Faults) -> str | None:
    """The order of columns that was given, checked."""
    order = options.columns
    if order is not None and sorted(order.replace("_", "")) != sorted("txyp"):
        raise faults.error(
            f"columns must name t, x, y and p once each, with _ for one to skip, such as xytp, not {order!r}"
        )
    return order


class _Columns(BaseReader):
    """Named columns that arrive in pieces."""

    def _reading(self, columns: dict[str, NDArray[Any]], unit: str | None, done: float) -> Reading:
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1 or any(column.ndim != 1 for column in columns.values()):
            raise self.faults.error("t, x, y, p must be one-dimensional and equally long")
        is_float = columns["t"].dtype.kind == "f"
        self.details["time_unit"] = self.options.time_unit or unit or ("s" if is_float else "us")
        return Reading(checked(columns, per_us(self.options, unit, is_float), self.faults), done)


class Npz(_Columns):
    """An npz with arrays t, x, y, p, or one structured array with these fields; never unpickled."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; arrays are unpacked side by side, a piece of each at a time."""
        with zipfile.ZipFile(self.path) as archive, ExitStack() as files:
            names = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNZIPPED:
                raise self.faults.error(f"unpacks to more than {_MAX_UNZIPPED} bytes")
            self._read_sensor(archive, names)
            found, unit = roles(names)
            if len(found) < 4:
                yield from self._one_array(archive, names, files)
                return
            arrays = {
                role: _Array(files.enter_context(archive.open(f"{name}.npy"))) for role, name in found.items()
            }
            lengths = {array.length for array in arrays.values()}
            if len(lengths) != 1 or not all(a.is_column and a.dtype.names is None for a in arrays.values()):
                raise self.faults.error("t, x, y, p must be one-dimensional and equally long")
            (n,) = lengths
            for start in range(0, n, CHUNK_EVENTS):
                m = min(CHUNK_EVENTS, n - start)
                pieces = {role: array.take(m) for role, array in arrays.items()}
                yield self._reading(pieces, unit, (start + m) / n)

    def _read_sensor(self, archive: zipfile.ZipFile, names: list[str]) -> None:
        if "sensor" in names:
            with archive.open("sensor.npy") as file:
                array = _Array(file)
                size = (
                    array.take(2) if array.length >= 2 and array.dtype.kind in "iu" else np.zeros(2, np.int64)
                )
            self.sensor = sensor_of(int(size[0]), int(size[1]))

    def _one_array(self, archive: zipfile.ZipFile, names: list[str], files: ExitStack) -> Iterator[Reading]:
        for name in names:
            array = _Array(files.enter_context(archive.open(f"{name}.npy")))
            found, unit = roles(list(array.dtype.names or ()))
            if len(found) == 4 and array.is_column:
                for start in range(0, array.length, array.at_once):
                    m = min(array.at_once, array.length - start)
                    rows = array.take(m)
                    columns = {role: rows[field] for role, field in found.items()}
                    yield self._reading(columns, unit, (start + m) / array.length)
                return
        raise self.faults.error(
            f"needs arrays t, x, y, p or a structured one; it holds {', '.join(names) or 'none'}"
        )


class _Array:
    """An array in a zip, from its start; one that is pickled is refused."""

    def __init__(self, file: IO[bytes]) -> None:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, self.dtype = read(file)
        if self.dtype.hasobject:
            raise ValueError("holds objects, which are never unpickled")
        self.is_column = len(shape) == 1
        self.length = int(shape[0]) if self.is_column else 0
        if self.dtype.itemsize > 2**20:
            raise ValueError(f"a row of {self.dtype.itemsize} bytes is no event")
        self.at_once = max(1, min(CHUNK_EVENTS, 2**26 // max(self.dtype.itemsize, 1)))
        self._file = file

    def take(self, n: int) -> NDArray[Any]:
        """The next n."""
        raw = self._file.read(n * self.dtype.itemsize)
        return np.frombuffer(raw, self.dtype, n)


class Npy(_Columns):
    """A structured array, or a table [n, 4] whose columns' order is given."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; the file is mapped, not loaded."""
        rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        order = given_order(self.options, self.faults)
        found, unit = roles(list(rows.dtype.names or ()))
        if rows.ndim == 2 and rows.dtype.names is None and order and len(order) <= rows.shape[1]:
            places = {role: order.index(role) for role in "txyp"}
        elif len(found) < 4 or rows.ndim != 1:
            raise self.faults.error(
                "needs fields t, x, y, p, or a table [n, 4] and the order of its columns; "
                f"it holds {rows.dtype} {[*rows.shape]}"
            )
        else:
            places = {}
        for start in range(0, len(rows), CHUNK_EVENTS):
            piece = np.array(rows[start : start + CHUNK_EVENTS])
            columns = (
                {role: piece[:, at] for role, at in places.items()}
                if places
                else {role: piece[name] for role, name in found.items()}
            )
            yield self._reading(columns, unit, min(1.0, (start + CHUNK_EVENTS) / len(rows)))


class Csv(_Columns):
    """Text with one event a line, separated by comma, semicolon, tab or blanks.

    The order of columns comes from what was given, or from a header line; without either it is t, x, y, p, and
    refused where the first column does not look like time.
    """

    def __init__(self, path: Path, faults: Faults, options: Options) -> None:
        super().__init__(path, faults, options)
        with path.open("rb") as file:
            head = file.read(65_536).removeprefix(b"\xef\xbb\xbf")
        lines = head.split(b"\n")
        self._skip = 0
        while self._skip < len(lines) - 1 and _is_comment(lines[self._skip]):
            self._skip += 1
        first = lines[self._skip] if self._skip < len(lines) else b""
        if len(sizes := _numbers(first)) == 2:  # the size of the sensor, as E2VID's files begin
            self.sensor = sensor_of(int(sizes[0]), int(sizes[1]))
            self._skip += 1
            first = lines[self._skip] if self._skip < len(lines) else b""
        self._separator = _separator(first)
        fields = _fields(first, self._separator)
        order, self._unit = given_order(options, faults), None
        if not _numbers(first):
            fields = [field.strip("\"'") for field in fields]
            found, self._unit = roles(fields)
            self._skip += 1
            if order is None and len(found) < 4:
                raise faults.error(f"needs columns t, x, y, p; its header names {', '.join(fields)[:200]}")
            names = {name: role for role, name in found.items()}
            order = order or "".join(names.get(name, "_") for name in fields)
        elif order is None:
            order = "txyp" + "_" * (len(fields) - 4)
            _check_that_time_leads(lines[self._skip :], self._separator, faults)
        if len(fields) < len(order.rstrip("_")):
            raise faults.error(f"not a table of t, x, y, p: has {len(fields)} columns where {order} was told")
        self._names = [f"{c}{i}" if c == "_" else c for i, c in enumerate(order.ljust(len(fields), "_"))]
        whole = lines[self._skip :] if len(head) < 65_536 else lines[self._skip : -1]
        times = [_fields(line, self._separator) for line in whole if line.strip() and not _is_comment(line)]
        at = self._names.index("t")
        self._float_time = any(
            len(row) > at and any(mark in row[at].lower() for mark in ".e") for row in times[:1000]
        )

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; a block of lines at a time, and one with a broken line in it line by line."""
        with self.path.open("rb") as file:
            for _ in range(self._skip):
                file.readline(_LONGEST_LINE)
            for block in self._blocks(file):
                try:
                    columns = self._by_arrow(block) if self._separator else self._by_blanks(block)
                except (pa.ArrowException, ValueError, OverflowError):
                    columns = self._one_by_one(block.split(b"\n"))
                yield self._reading(columns, self._unit, min(1.0, file.tell() / self.size))

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Whole lines, about a MiB of them; a line without end is no line and does not fill memory."""
        rest = b""
        while block := file.read(CHUNK_BYTES):
            data = rest + block
            cut = data.rfind(b"\n") + 1
            if cut:
                yield data[:cut]
            rest = data[cut:]
            if len(rest) > _LONGEST_LINE:
                sentence = f"not a table of t, x, y, p: a line of more than {_LONGEST_LINE} bytes"
                self.faults.found("dropped_unusable_rows", 1, sentence)
                while (more := file.readline(CHUNK_BYTES)) and not more.endswith(b"\n"):
                    pass
                rest = b""
        if rest.strip():
            yield rest

    def _by_arrow(self, block: bytes) -> dict[str, NDArray[Any]]:
        kinds = {name: pa.float64() for name in "xyp"} | {
            "t": pa.float64() if self._float_time else pa.int64()
        }
        table = pc.read_csv(
            pa.BufferReader(block),
            pc.ReadOptions(use_threads=False, column_names=self._names),
            pc.ParseOptions(delimiter=self._separator, quote_char=False),
            pc.ConvertOptions(
                column_types=kinds, include_columns=list("txyp"), null_values=[], strings_can_be_null=False
            ),
        )
        return {name: table.column(name).to_numpy() for name in "txyp"}

    def _by_blanks(self, block: bytes) -> dict[str, NDArray[Any]]:
        rows = [line for line in block.decode("latin-1").split("\n") if line.strip()]
        at = [self._names.index(name) for name in "txyp"]
        # Times as integers keep every digit; loadtxt reads columns of one type only.
        t = np.loadtxt(rows, np.float64 if self._float_time else np.int64, usecols=at[0], ndmin=1)
        rest = np.loadtxt(rows, np.float64, usecols=at[1:], ndmin=2)
        return {"t": t, "x": rest[:, 0], "y": rest[:, 1], "p": rest[:, 2]}

    def _one_by_one(self, lines: list[bytes]) -> dict[str, NDArray[Any]]:
        """The lines that can be read; the others are counted."""
        at = [self._names.index(name) for name in "txyp"]
        good: list[tuple[float, ...]] = []
        bad: list[bytes] = []
        for line in lines:
            if _is_comment(line):
                continue
            fields = _fields(line, self._separator)
            try:
                time = float(fields[at[0]]) if self._float_time else int(fields[at[0]])
                good.append((min(max(time, -(2**62)), 2**62), *(float(fields[i]) for i in at[1:])))
            except (ValueError, IndexError):
                bad.append(line)
        first = bad[0][:40].decode("latin-1").strip() if bad else ""
        self.faults.found(
            "dropped_unusable_rows",
            len(bad),
            f"not a table of t, x, y, p: {len(bad)} lines such as {first!r}",
        )
        t, x, y, p = zip(*good, strict=True) if good else ((), (), (), ())
        kind = np.float64 if self._float_time else np.int64
        return {
            "t": np.array(t, kind),
            "x": np.array(x, float),
            "y": np.array(y, float),
            "p": np.array(p, float),
        }


class Parquet(_Columns):
    """A Parquet table with columns t, x, y, p, such as ``analyze`` writes."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        with pq.ParquetFile(self.path) as file:
            found, unit = roles(file.schema_arrow.names)
            if len(found) < 4:
                raise self.faults.error(
                    f"needs columns t, x, y, p; it has {', '.join(file.schema_arrow.names)}"
                )
            self._read_sensor(file.schema_arrow.metadata or {})
            total, read = max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(batch_size=CHUNK_EVENTS, columns=list(found.values())):
                read += batch.num_rows
                whole = (
                    batch.drop_null()
                )  # of a column with one null numpy would make floats, and of those seconds
                bad = batch.num_rows - whole.num_rows
                self.faults.found("dropped_unusable_rows", bad, f"{bad} rows with nothing in t, x, y or p")
                columns = {
                    role: whole.column(name).to_numpy(zero_copy_only=False) for role, name in found.items()
                }
                yield self._reading(columns, unit, read / total)

    def _read_sensor(self, meta: dict[bytes, bytes]) -> None:
        found = re.search(rb'"width": *(\d{1,5}).*?"height": *(\d{1,5})', meta.get(b"polychrony", b""))
        if found:
            self.sensor = sensor_of(int(found[1]), int(found[2]))


def is_table(head: bytes) -> bool:
    """Whether text with columns begins so."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    lines = [line for line in head.split(b"\n")[:50] if line.strip() and not _is_comment(line)][:3]
    if any(b in head[:4096] for b in b"\x00\x01\x02\x03\x04\x05\x06\x07"):
        return False
    numbers = any(len(_numbers(line)) >= 4 for line in lines)
    return numbers or (
        len(lines) > 0
        and len(roles([f.strip("\"'") for f in _fields(lines[0], _separator(lines[0]))])[0]) == 4
    )


def _is_comment(line: bytes) -> bool:
    return not line.strip() or line.lstrip()[:1] in {b"#", b"%"}


def _separator(line: bytes) -> str | None:
    return next((mark for mark in (",", ";", "\t") if mark.encode() in line), None)


def _fields(line: bytes, separator: str | None) -> list[str]:
    return [field.strip() for field in line.decode("latin-1").strip().split(separator)]


def _numbers(line: bytes) -> list[float]:
    try:
        return [float(field) for field in _fields(line, _separator(line))]
    except ValueError:
        return []


def _check_that_time_leads(lines: list[bytes], separator: str | None, faults: Faults) -> None:
    """Refuse a table without header whose first column falls while its third never does: its order is x, y, t."""
    rows = [numbers for line in lines[:1000] if len(numbers := _numbers(line)) >= 4]
    columns = list(zip(*(row[:4] for row in rows), strict=True))
    if len(rows) < 2 or not columns:
        return
    falls = [any(b < a for a, b in pairwise(column)) for column in columns]
    if falls[0] and not falls[2]:
        raise faults.error(
            "has no header, and its first column falls as time does not: give the order of its columns"
        )
