"""Event recordings: EVT2, EVT3, DAT and AEDAT4 through eventcv; .bin, npz and csv by ourselves.

Every decode is checked: an empty answer from a file with content, coordinates outside the sensor,
time that runs backwards. What had to be put right is counted.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventcv
import numpy as np
from numpy.typing import NDArray

from kernels.decode import decode_aer40
from kernels.events import is_sorted
from pipeline import packets
from pipeline.packets import Events
from pipeline.sources.base import SourceError, SourceInfo
from pipeline.spec import Sensor

BATCH = 65_536
MAX_T_US = 2**53 - 1
MAX_UNZIPPED = 8 * 2**30
_LARGEST = (16384, 16384)
_CAMERAS = {
    "genx320": Sensor(width=320, height=320),
    "imx636": Sensor(width=1280, height=720),
    "gen4": Sensor(width=1280, height=720),
    "gen3": Sensor(width=640, height=480),
}
"""Sensors of the cameras whose recorder wrote its name into the header, and nothing of its size."""
WORD_BYTES = {"EVT2": 4, "EVT3": 2, "DAT": 8}


class Recording:
    """A recording, decoded whole; see :class:`pipeline.sources.base.Source`.

    Args:
        path: the file.
        kind: its format, as :func:`identify` names it.
        sensor: the pixel grid where the file does not say, or to overrule it.

    Raises:
        SourceError: it is broken, empty, or does not fit the sensor.
    """

    flags = 0

    def __init__(self, path: Path, kind: str, sensor: Sensor | None = None) -> None:
        columns, stated = _decode(path, kind)
        if len(columns[0]) == 0:
            raise SourceError(f"{path.name}: holds no events")
        self._columns, repaired = _in_order(columns)
        t, x, y, _ = self._columns
        if int(t[0]) < 0 or int(t[-1]) > MAX_T_US:
            raise SourceError(f"{path.name}: times must lie in 0 .. 2^53 - 1 us, not {t[0]} .. {t[-1]}")
        spans = Sensor(width=int(x.max()) + 1, height=int(y.max()) + 1)
        grid = sensor or stated or spans
        self.info = SourceInfo(
            format=kind, sensor=grid,
            sensor_from="given" if sensor else "file" if stated else "events",
            events=len(t), t_first_us=int(t[0]), t_last_us=int(t[-1]), repaired=repaired,
        )  # fmt: skip
        outside = int(np.count_nonzero((x >= grid.width) | (y >= grid.height)))
        if outside:
            self.info.details["events_outside_sensor"] = outside

    def batches(self) -> Iterator[tuple[Events, float]]:
        """See :class:`pipeline.sources.base.Source`."""
        n = len(self._columns[0])
        for start in range(0, n, BATCH):
            stop = min(start + BATCH, n)
            yield packets.cut(self._columns, start, stop), stop / n


def identify(head: bytes, path: Path) -> str | None:
    """The format of a recording from its first bytes (and for .bin its name), or None."""
    if head.startswith(b"#!AER-DAT4"):
        return "AEDAT4"
    if head.startswith(b"%"):
        return _prophesee(head)
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if path.suffix.lower() == ".bin":
        return "ATIS bin"
    return "csv" if _is_table(head) else None


def _prophesee(head: bytes) -> str | None:
    header = b"\n".join(_header_lines(head)).lower()
    if b"evt 3" in header or b"evt3" in header:
        return "EVT3"
    if b"evt 2.1" in header or b"evt21" in header:
        return None
    if b"evt 2" in header or b"evt2" in header:
        return "EVT2"
    return "DAT" if b"% version" in header or b"data file" in header else None


def _is_table(head: bytes) -> bool:
    lines = [line for line in head.split(b"\n")[:3] if line.strip() and not line.startswith(b"#")]
    numbers = any(len(_numbers(line)) >= 4 for line in lines)
    return numbers or (len(lines) > 0 and _names(lines[0]) is not None)


def _names(line: bytes) -> list[int] | None:
    """Where t, x, y, p stand in a table whose first line names its columns."""
    names = [part.strip().lower() for part in line.decode(errors="replace").strip("# \r\n").split(",")]
    return [names.index(name) for name in "txyp"] if set("txyp") <= set(names) else None


def _numbers(line: bytes) -> list[float]:
    try:
        return [float(part) for part in line.replace(b",", b" ").split()]
    except ValueError:
        return []


def _decode(path: Path, kind: str) -> tuple[Events, Sensor | None]:
    if kind in WORD_BYTES:
        _check_whole(path, WORD_BYTES[kind], 2 if kind == "DAT" else 0)
    if kind == "npz":
        return _read_npz(path)
    if kind == "csv":
        return _read_csv(path), None
    if kind == "ATIS bin":
        try:
            return decode_aer40(path.read_bytes()), None
        except ValueError as problem:
            raise SourceError(f"{path.name}: no whole 40-bit events, {problem}") from problem
    return _through_eventcv(path, kind)


def _check_whole(path: Path, word: int, after_header: int) -> None:
    """A file whose events end in the middle of a word was cut off."""
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        while file.peek(1)[:1] == b"%":
            line = file.readline(65536)
            start += len(line)
            if line.strip() == b"% end":
                break  # whatever follows are events
    body = size - start - after_header
    if body <= 0:
        raise SourceError(f"{path.name}: holds no events")
    if body % word:
        raise SourceError(
            f"{path.name}: truncated, its last {body % word} bytes are no whole {word}-byte word"
        )


def _through_eventcv(path: Path, kind: str) -> tuple[Events, Sensor | None]:
    try:
        stated = _aedat4_sensor(path) if kind == "AEDAT4" else _geometry(path)
        # eventcv drops what lies outside the size that it is given, or guesses, without a word.
        table: NDArray[Any] = eventcv.load(str(path), sensor_size=_LARGEST).numpy()
    except (ValueError, OSError, RuntimeError, OverflowError, TypeError) as problem:
        raise SourceError(f"{path.name}: not a readable {kind} file: {_first_line(problem)}") from problem
    if len(table) and int(table[:, 2].max()) > MAX_T_US:
        raise SourceError(f"{path.name}: times must lie in 0 .. 2^53 - 1 us")
    columns = (
        table[:, 2].astype(np.int64),
        table[:, 0].astype(np.uint16),
        table[:, 1].astype(np.uint16),
        table[:, 3] != 0,
    )
    return columns, stated


def _aedat4_sensor(path: Path) -> Sensor:
    width, height = eventcv.load(str(path)).sensor_size
    return Sensor(width=width, height=height)


def _geometry(path: Path) -> Sensor | None:
    """The sensor that a Prophesee header states, or that the camera which it names has."""
    with path.open("rb") as file:
        head = file.read(65_536)
    header = b"\n".join(_header_lines(head)).decode(errors="replace").lower()
    found = re.search(r"geometry[ :]+(\d+)x(\d+)", header)
    width, height = (
        (found[1], found[2])
        if found
        else tuple(
            match[1] if (match := re.search(rf"\b{key}[ =:]+(\d+)", header)) else None
            for key in ("width", "height")
        )
    )
    if width and height and 0 < int(width) <= 65536 and 0 < int(height) <= 32768:
        return Sensor(width=int(width), height=int(height))
    for name, sensor in _CAMERAS.items():
        if re.search(rf"plugin_name .*{name}", header):
            return sensor
    return None


def _header_lines(head: bytes) -> Iterator[bytes]:
    for line in head.split(b"\n"):
        if not line.startswith(b"%"):
            return
        yield line
        if line.strip() == b"% end":
            return


def _read_npz(path: Path) -> tuple[Events, Sensor | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNZIPPED:
                raise SourceError(f"{path.name}: unpacks to more than {MAX_UNZIPPED} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in "txyp" if name not in arrays]
            if missing:
                raise SourceError(
                    f"{path.name}: needs arrays t, x, y, p; {', '.join(missing)} missing in {arrays.files}"
                )
            columns = [arrays[name] for name in "txyp"]
            stated = None
            if "sensor" in arrays:
                stated = Sensor(width=int(arrays["sensor"][0]), height=int(arrays["sensor"][1]))
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, EOFError) as problem:
        if isinstance(problem, SourceError):
            raise
        raise SourceError(f"{path.name}: not a readable npz file: {_first_line(problem)}") from problem
    if any(c.ndim != 1 or len(c) != len(columns[0]) for c in columns):
        raise SourceError(f"{path.name}: t, x, y, p must be one-dimensional and equally long")
    return _checked(path, columns), stated


def _read_csv(path: Path) -> Events:
    """Columns t, x, y, p in the order that a header names, or in this one."""
    with path.open("rb") as file:
        first = file.readline(4096)
    skip = 0 if _numbers(first) else 1
    order = _names(first) or [0, 1, 2, 3]
    delimiter = "," if b"," in first else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file without rows; that it holds none is said below
            table = np.loadtxt(path, np.int64, delimiter=delimiter, skiprows=skip, usecols=order, ndmin=2)
    except (ValueError, OverflowError) as problem:
        raise SourceError(f"{path.name}: not a table of t, x, y, p: {_first_line(problem)}") from problem
    return _checked(path, [table[:, i] for i in range(4)])


def _checked(path: Path, columns: list[NDArray[Any]]) -> Events:
    """Columns in the house's types, or an error where a value does not fit them."""
    t, x, y, p = columns
    if any(not (np.issubdtype(c.dtype, np.integer) or c.dtype == np.bool_) for c in columns):
        raise SourceError(
            f"{path.name}: t (us), x, y, p must be integers, not {[str(c.dtype) for c in columns]}"
        )
    for name, column, largest in (("x", x, 65535), ("y", y, 32767)):
        if len(column) and (int(column.min()) < 0 or int(column.max()) > largest):
            raise SourceError(f"{path.name}: {name} must lie in 0 .. {largest}")
    return (
        np.ascontiguousarray(t, np.int64),
        x.astype(np.uint16),
        y.astype(np.uint16),
        np.ascontiguousarray(p.astype(np.int64) > 0),
    )


def _in_order(columns: Events) -> tuple[Events, dict[str, int]]:
    t, x, y, p = columns
    if is_sorted(t):
        return columns, {}
    falls = int(np.count_nonzero(np.diff(t) < 0))
    order = np.argsort(t, kind="stable")
    return (t[order], x[order], y[order], p[order]), {"sorted_falls_of_time": falls}


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
