"""Events as arrays: npz, npy and mat, read piece by piece; never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.optional_imports import later
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading
from pipeline.sources.formats.columns import TableReader, order_of, roles, skipping, stated_order
from pipeline.sources.formats.reader import CHUNK_EVENTS, sensor_of

scipy_io = later("scipy.io", "reading .mat files", extra="mat")

_MAX_UNZIPPED, _MOST_RATIO, _ALWAYS_UNZIPPED = 64 * 2**30, 1000, 2**24
_MAX_MAT = 2**28
"""Elements of a .mat file's arrays, which are loaded whole."""
_SAMPLE = 4096
_MOST_WHOLE = 2**28
_MOST_COLUMNS = 16
"""Of a table of events; an image beside them is wider."""
_SIZES = ("sensor", "sensor_size", "resolution")
"""Names of an array [width, height] beside the events."""


class Npz(TableReader):
    """An npz with arrays t, x, y, p, one structured array with these fields, or one [n, 4]."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; arrays are unpacked side by side, a piece of each at a time."""
        self.begin()
        with zipfile.ZipFile(self.path) as archive, ExitStack() as files:
            names = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
            most = min(_MAX_UNZIPPED, _ALWAYS_UNZIPPED + _MOST_RATIO * self.size)
            if sum(entry.file_size for entry in archive.infolist()) > most:
                raise self.faults.error(f"unpacks to more than {most} bytes, {_MOST_RATIO} times its size")
            self.sensor = _size_in(archive, names)
            self.unit = "us" if "epoch_ns" in names else None  # as `convert` writes it
            found, unit = roles(names, self.faults)
            self.unit = self.unit or unit
            self._refuse_group(names)
            if len(found) < 4 or self.options.group is not None:
                yield from self._one_array(archive, names, files)
                return
            self.refuse_order()
            if "epoch_ns" in names:
                self.epoch_ns = _epoch_in(archive)
            arrays = {
                role: _Array(files.enter_context(archive.open(f"{name}.npy"))) for role, name in found.items()
            }
            lengths = {array.length for array in arrays.values()}
            if len(lengths) != 1 or not all(
                a.columns == 1 and a.dtype.names is None for a in arrays.values()
            ):
                raise self.faults.error("t, x, y, p must be one-dimensional and equally long")
            (n,) = lengths
            for start in range(0, n, CHUNK_EVENTS):
                m = min(CHUNK_EVENTS, n - start)
                yield self.reading({role: array.take(m) for role, array in arrays.items()}, (start + m) / n)

    def _refuse_group(self, names: list[str]) -> None:
        group = self.options.group
        if group is not None and group not in names:
            raise self.faults.error(f"no array {group}; it holds {', '.join(names) or 'none'}")

    def _one_array(self, archive: zipfile.ZipFile, names: list[str], files: ExitStack) -> Iterator[Reading]:
        tables: list[tuple[str, _Array]] = []
        rows_of: list[tuple[str, _Array, dict[str, str], str | None]] = []
        chosen = self.options.group
        for name in names if chosen is None else [name for name in names if name == chosen]:
            try:
                array = _Array(files.enter_context(archive.open(f"{name}.npy")))
            except ValueError:  # objects, which are never unpickled: cameras and the like beside the events
                continue
            found, unit = roles(list(array.dtype.names or ()), self.faults)
            if len(found) == 4 and array.columns == 1:
                rows_of.append((name, array, found, unit))
            if 4 <= array.columns <= _MOST_COLUMNS and array.dtype.names is None and array.length:
                tables.append((name, array))
        if len(rows_of) > 1:
            listed = ", ".join(name for name, *_ in rows_of)
            raise self.faults.error(f"holds events in several arrays, {listed}: choose one with --group")
        if rows_of:
            self.refuse_order()
            _, array, found, self.unit = rows_of[0]
            for start in range(0, array.length, array.at_once):
                m = min(array.at_once, array.length - start)
                rows = array.take(m)
                yield self.reading(
                    {role: rows[field] for role, field in found.items()}, (start + m) / array.length
                )
            return
        if len(tables) > 1:
            tables = [one for one in tables if one[0].lower() in {"event", "events"}] or tables
        if len(tables) > 1:
            listed = ", ".join(name for name, _ in tables)
            raise self.faults.error(f"holds several tables, {listed}: choose one with --group")
        if len(tables) != 1:
            raise self.faults.error(
                f"needs arrays t, x, y, p, a structured one or one [n, 4]; it holds {', '.join(names) or 'none'}"
            )
        yield from self._table(tables[0][1])

    def _table(self, array: _Array) -> Iterator[Reading]:
        piece = array.take(min(array.at_once, array.length))
        places, read = self._places(piece), 0
        while len(piece):
            read += len(piece)
            yield self.reading({role: piece[:, at] for role, at in places.items()}, read / array.length)
            piece = array.take(min(array.at_once, array.length - read))

    def _places(self, piece: NDArray[Any]) -> dict[str, int]:
        return places_in(self, piece)


def places_in(reader: TableReader, rows: NDArray[Any], known: str | None = None) -> dict[str, int]:
    """Where the columns of an [n, 4] array stand: as given, as its layout is known, or as its values show."""
    order = stated_order(reader.options, rows.shape[1], reader.faults) or known
    if order is None:
        order = order_of([rows[:_SAMPLE, i] for i in range(rows.shape[1])], reader.faults)
        reader.details["columns"] = f"{order} (from the values)"
    return skipping(order)


class _Array:
    """An array in a zip, from its start; one that is pickled is refused."""

    def __init__(self, file: IO[bytes]) -> None:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, self.dtype = read(file)
        if self.dtype.hasobject:
            raise ValueError("holds objects, which are never unpickled")
        self.columns = 1 if len(shape) == 1 else int(shape[1]) if len(shape) == 2 else 0
        self._by_columns = is_fortran and self.columns > 1
        self._whole: NDArray[Any] | None = None
        self._at = 0
        self.length = int(shape[0]) if self.columns else 0
        self._row_bytes = self.dtype.itemsize * max(self.columns, 1)
        if self._row_bytes > 2**20:
            raise ValueError(f"a row of {self._row_bytes} bytes is no event")
        self.at_once = max(1, min(CHUNK_EVENTS, 2**26 // max(self._row_bytes, 1)))
        self._file = file

    def take(self, n: int) -> NDArray[Any]:
        """The next n rows."""
        if self._by_columns:
            return self._take_rows(n)
        raw = self._file.read(n * self._row_bytes)
        taken = np.frombuffer(raw, self.dtype, n * max(self.columns, 1))
        return taken if self.columns == 1 else taken.reshape(n, self.columns)

    def _take_rows(self, n: int) -> NDArray[Any]:
        """The next rows of an array that lies column by column, and so is read whole.

        Raises:
            ValueError: it is too large for that.
        """
        if self._whole is None:
            if self.length * self._row_bytes > _MOST_WHOLE:
                raise ValueError(f"an array in Fortran order of more than {_MOST_WHOLE} bytes")
            raw = self._file.read(self.length * self._row_bytes)
            flat = np.frombuffer(raw, self.dtype, self.length * self.columns)
            self._whole = flat.reshape(self.columns, self.length).T
        start, self._at = self._at, self._at + n
        return self._whole[start : start + n]


def _size_in(archive: zipfile.ZipFile, names: list[str]) -> Sensor | None:
    """A sensor's size that is stored beside the events."""
    sizes: list[int] = []
    for name in next(([one] for one in _SIZES if one in names), ["width", "height"]):
        if name in names:
            with archive.open(f"{name}.npy") as file:
                sizes += _whole_numbers(file)
    return sensor_of(sizes[0], sizes[1]) if len(sizes) == 2 else None


def _epoch_in(archive: zipfile.ZipFile) -> int:
    """Nanoseconds since 1970 at time 0, as ``convert`` writes them."""
    with archive.open("epoch_ns.npy") as file:
        found = _whole_numbers(file)
    return found[0] if len(found) == 1 and 0 <= found[0] < 2**63 else 0


def _whole_numbers(file: IO[bytes]) -> list[int]:
    """Up to two integers of a small array, which may be a single one."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    n = int(np.prod(shape, dtype=np.int64)) if shape else 1
    if kind.kind not in "iu" or not 1 <= n <= 2:
        return []
    return [int(value) for value in np.frombuffer(file.read(n * kind.itemsize), kind, n)]


class Npy(TableReader):
    """A structured array, or a table [n, 4]."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; the file is mapped, not loaded."""
        self.begin()
        with self.path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise self.faults.error("not an npy file: its first bytes are others")
        rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        found, self.unit = roles(list(rows.dtype.names or ()), self.faults)
        if rows.ndim == 2 and rows.dtype.names is None and rows.shape[1] >= 4 and rows.dtype.itemsize <= 16:
            places = places_in(self, np.array(rows[:_SAMPLE]))
        elif len(found) < 4 or rows.ndim != 1:
            raise self.faults.error(
                f"needs fields t, x, y, p, or a table [n, 4]; it holds {rows.dtype} {[*rows.shape]}"
            )
        else:
            self.refuse_order()
            places = {}
        for start in range(0, len(rows), CHUNK_EVENTS):
            piece = np.array(rows[start : start + CHUNK_EVENTS])
            columns = (
                {role: piece[:, at] for role, at in places.items()}
                if places
                else {role: piece[name] for role, name in found.items()}
            )
            yield self.reading(columns, min(1.0, (start + CHUNK_EVENTS) / len(rows)))


class Mat(TableReader):
    """A MATLAB file up to version 7 with x, y, t, p as arrays, as fields of one struct, or as one table [n, 4]."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`; scipy loads the arrays whole, so their size is bounded."""
        self.begin()
        listed = scipy_io.whosmat(str(self.path))
        total = sum(int(np.prod(shape, dtype=np.int64)) for _, shape, _ in listed)
        if total > _MAX_MAT:
            raise self.faults.error(f"holds {total} numbers, more than {_MAX_MAT}")
        held = scipy_io.loadmat(str(self.path), squeeze_me=True, verify_compressed_data_integrity=False)
        arrays = {name: one for name, one in held.items() if not name.startswith("__")}
        columns = self._columns(arrays)
        n = len(columns["t"])
        for start in range(0, n, CHUNK_EVENTS):
            stop = min(n, start + CHUNK_EVENTS)
            yield self.reading({role: column[start:stop] for role, column in columns.items()}, stop / n)

    def _columns(self, arrays: dict[str, Any]) -> dict[str, NDArray[Any]]:
        structs = {name: _fields(one) for name, one in arrays.items()}
        group = self.options.group
        if group is not None and group not in arrays:
            raise self.faults.error(f"no variable {group}; it holds {', '.join(arrays) or 'none'}")
        holders: dict[str, dict[str, Any]] = (
            {"": arrays, **structs} if group is None else {group: structs[group]}
        )
        fitting = {
            name: (one, *roles(list(one), self.faults))
            for name, one in holders.items()
            if len(roles(list(one), self.faults)[0]) == 4
        }
        if len(fitting) > 1:
            raise self.faults.error(
                f"holds events in several places, {', '.join(filter(None, fitting))}: choose one with --group"
            )
        for held, found, self.unit in fitting.values():
            self.refuse_order()
            return {role: np.atleast_1d(np.asarray(held[name])) for role, name in found.items()}
        tables = [
            one
            for one in (arrays if group is None else {group: arrays[group]}).values()
            if isinstance(one, np.ndarray) and one.ndim == 2 and one.shape[1] == 4
        ]
        if len(tables) == 1 and tables[0].dtype.kind in "biuf":
            places = places_in(self, tables[0])
            return {role: np.ascontiguousarray(tables[0][:, at]) for role, at in places.items()}
        held = ", ".join(arrays) or "nothing"
        raise self.faults.error(
            f"needs x, y, t, p, a struct with these fields, or one table [n, 4]; it holds {held}"
        )


def _fields(value: Any) -> dict[str, Any]:
    """Fields of a struct as scipy loads it."""
    names = getattr(getattr(value, "dtype", None), "names", None)
    return {name: value[name].item() if value[name].ndim == 0 else value[name] for name in names or ()}
