"""HDF5 with columns t, x, y, p somewhere inside, through h5py."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from pipeline.hdf5_heaps import heaps_are_sound
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading
from pipeline.sources.formats.arrays import places_in
from pipeline.sources.formats.columns import TableReader, roles, unit_named
from pipeline.sources.formats.reader import CHUNK_EVENTS, UNITS_US, sensor_of

_FILTERS = {
    32001: "Blosc",
    32026: "Blosc2",
    32004: "LZ4",
    32015: "Zstandard",
    32008: "bitshuffle",
    307: "bzip2",
}
_ECF = 0x8ECF
_MOST_CHUNK = 2**27
"""Bytes that one chunk of a data set may unpack to."""
_MOST_UNPACKED, _MOST_RATIO, _ALWAYS_UNPACKED = 64 * 2**30, 1000, 2**24
"""Bytes that all columns unpack to: in all, for each byte of the file, and whatever its size."""
_MOST_TRIGGERS = 2**24
_UNIT_ATTRIBUTES = ("units", "unit", "time_unit", "time_units")
_KNOWN_TABLES = {"v2e": "txyp", "mvsec": "xytp"}
"""Columns of [n, 4] data sets of these tools."""

Columns = dict[str, tuple[Any, Any]]
"""Per role the data set, and the field or column of it; None for all of it."""


class Hdf5(TableReader):
    """The group that holds t, x, y and p under their usual names, a table with such fields, or one [n, 4].

    A file with several (DSEC's and M3ED's left and right cameras) is refused until ``--group`` names one. A data set
    ``t_offset`` beside or above the times (DSEC) is added. Compressed data needs the filter: hdf5plugin (extra
    ``hdf5``) has most; Prophesee's ECF is read where its plugin is on ``HDF5_PLUGIN_PATH``.
    """

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        self.begin()
        with suppress(ImportError):
            importlib.import_module("hdf5plugin")
        with h5py.File(self.path, "r") as file:
            if not heaps_are_sound(self.path):
                raise self.faults.error("not a readable HDF5 file: a heap in it is damaged")
            yield from self._read(file)

    def _read(self, file: Any) -> Iterator[Reading]:
        columns = self._find(file)
        t, field = columns["t"]
        for data in {one.id.id: one for one, _ in columns.values()}.values():
            self._refuse(data)
        self.sensor = self._size_beside(file, t)
        if self.options.time_unit is None:
            try:
                self.unit = self.unit or _unit_in(t)
            except ValueError as problem:
                raise self.faults.error(f"its times {problem}: give --time-unit") from problem
        offset = _offset(file, t) if field is None else 0.0
        length = len(t)
        if any(len(data) != length for data, _ in columns.values()):
            raise self.faults.error("t, x, y, p must be equally long")
        unpacked = sum({one.id.id: one.nbytes for one, _ in columns.values()}.values())
        most = min(_MOST_UNPACKED, _ALWAYS_UNPACKED + _MOST_RATIO * self.size)
        if unpacked > most:
            raise self.faults.error(
                f"unpacks to {unpacked} bytes, more than {most} ({_MOST_RATIO} times its size)"
            )
        if any(isinstance(part, str) for _, part in columns.values()) or all(
            part is None for _, part in columns.values()
        ):
            self.refuse_order()
        at_once = self._at_once(columns)
        triggers = self._edges_beside(t)
        for start in range(0, length, at_once):
            stop = min(length, start + at_once)
            pieces: dict[int, Any] = {}  # a table is read once for all its fields
            taken: dict[str, Any] = {}
            for role, (data, part) in columns.items():
                if data.id.id not in pieces:
                    pieces[data.id.id] = data[start:stop]
                piece = pieces[data.id.id]
                taken[role] = (
                    piece if part is None else piece[part] if isinstance(part, str) else piece[:, part]
                )
            events, done, _ = self.reading(taken, stop / length)
            yield Reading(self._moved(events, offset), done, triggers)
            triggers = no_triggers()

    def _edges_beside(self, t: Any) -> Triggers:
        """Edges on the trigger inputs, which Prophesee's files keep in EXT_TRIGGER/events beside CD/events."""
        data = t.parent.parent.get("EXT_TRIGGER/events")
        names = getattr(getattr(data, "dtype", None), "names", None) or ()
        if not {"t", "p", "id"} <= set(names):
            return no_triggers()
        self._refuse(data)
        if len(data) > _MOST_TRIGGERS:
            raise self.faults.error(f"holds {len(data)} triggers, more than {_MOST_TRIGGERS}")
        rows = data[()]
        edges = np.stack([rows[name].astype(np.int64) for name in ("t", "id", "p")], axis=1)
        return edges[np.argsort(edges[:, 0], kind="stable")]

    def _moved(self, events: Events, offset: float) -> Events:
        factor = UNITS_US[str(self.details["time_unit"])]
        return (events[0] + round(offset * factor), *events[1:]) if offset else events

    def _at_once(self, columns: Columns) -> int:
        """Rows of a whole number of chunks: one that two pieces share would be unpacked twice."""
        chunk = max((data.chunks[0] for data, _ in columns.values() if data.chunks), default=1)
        widest = max(data.dtype.itemsize * int(np.prod(data.shape[1:])) for data, _ in columns.values())
        if chunk * widest > _MOST_CHUNK:
            raise self.faults.error(f"a chunk of its data is larger than {_MOST_CHUNK} bytes")
        return max(1, CHUNK_EVENTS // chunk) * chunk

    def _find(self, file: Any) -> Columns:
        sets: list[Any] = []

        def note(_: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                sets.append(item)

        file.visititems(note)
        cameras = self._named(sets) or self._tables(sets)
        group = self.options.group
        if group is not None:
            wanted = f"/{group.strip('/')}"
            cameras = {
                name: one for name, one in cameras.items() if name == wanted or name.startswith(f"{wanted}/")
            }
        if len(cameras) == 1:
            (name,) = cameras
            if "/" in name.strip("/") or group is not None:
                self.details["group"] = name.strip("/") or "/"
            return cameras[name]
        every = self._named(sets) or self._tables(sets)
        if len(every) > 1:
            listed = ", ".join(name.strip("/") for name in every)
            raise self.faults.error(
                f"holds events of {len(every)} cameras, {listed}: choose one with --group"
            )
        held = ", ".join(f"{data.name} {[*data.shape]}" for data in sets[:8]) or "nothing"
        if group is not None and every:
            listed = ", ".join(name.strip("/") or "/" for name in every)
            raise self.faults.error(f"no group {group} holds events; those that do: {listed}")
        asked = f" in the group {group}" if group is not None else ""
        raise self.faults.error(f"needs t, x, y and p, or a table [n, 4]{asked}; it holds {held}")

    def _named(self, sets: list[Any]) -> dict[str, Columns]:
        """By where they are: tables with fields t, x, y, p, and groups that hold data sets of these names."""
        found: dict[str, Columns] = {}
        for data in sets:
            fields, unit = roles(list(data.dtype.names or ()), self.faults)
            if len(fields) == 4 and data.ndim == 1:
                found[data.name] = {role: (data, name) for role, name in fields.items()}
                self.unit = self.unit or unit
        for parent in dict.fromkeys(data.parent.name for data in sets):
            beside = {
                data.name.rpartition("/")[2]: data
                for data in sets
                if data.parent.name == parent and data.ndim == 1 and data.dtype.names is None
            }
            names, unit = roles(list(beside), self.faults)
            if len(names) == 4:
                found[parent] = {role: (beside[name], None) for role, name in names.items()}
                self.unit = self.unit or unit
        return found

    def _tables(self, sets: list[Any]) -> dict[str, Columns]:
        """Data sets [n, 4] that hold events; frames and poses beside them have other shapes or names."""
        names = {data.name for data in sets}
        fitting = [
            d for d in sets if d.ndim == 2 and 4 <= d.shape[1] <= 16 and d.dtype.kind in "biuf" and len(d)
        ]
        events = [d for d in fitting if d.name.rpartition("/")[2] == "events"]
        found: dict[str, Columns] = {}
        for data in events or fitting:
            layout = (
                "v2e" if {"/frame_idx", "/frame_ts"} & names else "mvsec" if "/davis/" in data.name else ""
            )
            group = self.options.group
            alone = len(events or fitting) == 1 or (group is not None and group.strip("/") in data.name)
            known = self._names_beside(data) or _KNOWN_TABLES.get(layout)
            places = places_in(self, data[: min(len(data), 4096)], known) if alone else {}
            where = data.name.rpartition("/")[0] if len(events) > 1 else data.name
            found[where] = {role: (data, at) for role, at in places.items()}
        return found

    def _names_beside(self, data: Any) -> str | None:
        """The order of columns that an attribute of a table names, or pandas in its fixed format beside it."""
        own = data.name.rpartition("/")[2]
        held = data.parent.get(f"{own.removesuffix('_values')}_items") if own.endswith("_values") else None
        names = data.attrs.get("columns") if held is None else held[: data.shape[1]]
        if names is None:
            return None
        listed = names.split(",") if isinstance(names, str) else list(np.asarray(names).reshape(-1)[:64])
        words = [one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in listed]
        if len(words) != data.shape[1]:
            return None
        found, unit = roles([one.strip() for one in words], self.faults)
        self.unit = self.unit or unit
        back = {name: role for role, name in found.items()}
        return "".join(back.get(one.strip(), "_") for one in words) if len(found) == 4 else None

    def _refuse(self, data: Any) -> None:
        if data.external or data.is_virtual:
            raise self.faults.error("keeps its data in other files, which are not opened")
        if data.dtype.itemsize > 2**16:
            raise self.faults.error(f"a row of {data.dtype.itemsize} bytes is no event")
        filters = data.id.get_create_plist()
        for code in (filters.get_filter(i)[0] for i in range(filters.get_nfilters())):
            if h5py.h5z.filter_avail(code):
                continue
            if code == _ECF:
                raise self.faults.error(
                    "is compressed with Prophesee's ECF codec, which no package brings: put its plugin (hdf5_ecf) on "
                    "HDF5_PLUGIN_PATH, or convert the file with metavision_hdf5_to_raw"
                )
            name = _FILTERS.get(code, f"filter {code}")
            raise self.faults.error(
                f"is compressed with {name}: install hdf5plugin, the extra hdf5 (pip install 'polychrony[hdf5]')"
            )

    def _size_beside(self, file: Any, t: Any) -> Sensor | None:
        """The sensor's size in attributes or data sets of the group, of those above it, or of DSEC's and M3ED's."""
        place = t.parent
        while True:
            for holder in (place.attrs, place):
                if size := _size_in(holder):
                    return size
            if "calib" in place and (size := _size_in(place["calib"])):
                return size
            if place.name == "/":
                return _size_in(file.attrs)
            place = place.parent


def _size_in(holder: Any) -> Sensor | None:
    for width, height in (("width", "height"), ("sensor_width", "sensor_height")):
        if width in holder and height in holder:
            sizes = [*_whole(holder[width]), *_whole(holder[height])]
            if len(sizes) == 2:
                return sensor_of(sizes[0], sizes[1])
    for name in ("resolution", "sensor_size"):
        if name in holder and len(sizes := _whole(holder[name])) == 2:
            return sensor_of(sizes[0], sizes[1])
    if "geometry" in holder:
        text = holder["geometry"]
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.decode() if isinstance(text, bytes) else str(text))
        return sensor_of(int(found[1]), int(found[2])) if found else None
    return None


def _whole(value: Any) -> list[int]:
    """Up to two whole numbers of an attribute or a small data set."""
    if isinstance(value, h5py.Group) or getattr(value, "size", 1) > 2:
        return []
    array = np.asarray(value[()] if isinstance(value, h5py.Dataset) else value).reshape(-1)
    return [int(one) for one in array] if array.dtype.kind in "iu" else []


def _unit_in(t: Any) -> str | None:
    """The unit that the attributes of the times, or of the groups above them, name.

    Raises:
        ValueError: they name none that is known.
    """
    place = t
    while True:
        for name in _UNIT_ATTRIBUTES:
            value = place.attrs.get(name)
            first = np.asarray(value).reshape(-1)[0] if value is not None and np.size(value) else None
            text = first.decode(errors="replace") if isinstance(first, bytes) else first
            if isinstance(text, str):
                return unit_named(str(text))
        if place.name == "/":
            return None
        place = place.parent


def _offset(file: Any, t: Any) -> float:
    """What DSEC's files take from each time."""
    for place in (t.parent, file):
        if "t_offset" in place and place["t_offset"].size == 1:
            return float(np.asarray(place["t_offset"]).reshape(-1)[0])
    return 0.0
