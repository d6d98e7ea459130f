"""HDF5 with columns t, x, y, p somewhere inside, through h5py."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np

from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_EVENTS, BaseReader, checked, sensor_of
from pipeline.sources.formats.tables import given_order, per_us, roles

_ECF = 0x8ECF


class Hdf5(BaseReader):
    """The first group that holds t, x, y and p under their usual names, or the first table with such fields.

    Times are us unless the file's name for them, or the options, say otherwise; a data set ``t_offset`` beside
    or above them (DSEC) is added. Prophesee's ECF codec is in no package, and files in it are refused.
    """

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        with suppress(ImportError):
            importlib.import_module("hdf5plugin")  # more codecs, where somebody installed them
        with h5py.File(self.path, "r") as file:
            self._read_sensor(file)
            yield from self._read(file)

    def _read(self, file: Any) -> Iterator[Reading]:
        columns, unit = self._find(file)
        t = columns["t"][0]
        offset = _offset(file, t) if t.dtype.names is None else 0.0
        length = len(t)
        if any(len(data) != length for data, _ in columns.values()):
            raise self.faults.error("t, x, y, p must be equally long")
        is_float = _kind(*columns["t"]) == "f"
        factor = per_us(self.options, unit, is_float)
        self.details["time_unit"] = self.options.time_unit or unit or ("s" if is_float else "us")
        for start in range(0, length, CHUNK_EVENTS):
            stop = min(length, start + CHUNK_EVENTS)
            pieces: dict[int, Any] = {}  # a table is read once for all its fields
            taken: dict[str, Any] = {}
            for role, (data, field) in columns.items():
                if data.id.id not in pieces:
                    pieces[data.id.id] = data[start:stop]
                piece = pieces[data.id.id]
                taken[role] = (
                    piece if field is None else piece[field] if isinstance(field, str) else piece[:, field]
                )
            events = checked(taken, factor, self.faults)
            yield Reading((events[0] + round(offset * factor), *events[1:]), stop / length)

    def _find(self, file: Any) -> tuple[dict[str, tuple[Any, Any]], str | None]:
        """Per role the data set, and the field of it."""
        sets: list[Any] = []

        def note(_: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                sets.append(item)

        file.visititems(note)
        for data in sets:
            self._refuse(data)
            found, unit = roles(list(data.dtype.names or ()))
            if len(found) == 4 and data.ndim == 1:
                return {role: (data, name) for role, name in found.items()}, unit
        for parent in dict.fromkeys(data.parent.name for data in sets):
            beside = {
                data.name.rpartition("/")[2]: data
                for data in sets
                if data.parent.name == parent and data.ndim == 1
            }
            found, unit = roles(list(beside))
            if len(found) == 4:
                return {role: (beside[name], None) for role, name in found.items()}, unit
        order = given_order(self.options, self.faults)
        for data in sets:
            if order and data.ndim == 2 and data.shape[1] >= len(order):
                return {role: (data, order.index(role)) for role in "txyp"}, None
        held = ", ".join(f"{data.name} {[*data.shape]}" for data in sets[:8]) or "nothing"
        raise self.faults.error(
            f"needs t, x, y and p, or a table [n, 4] and the order of its columns; it holds {held}"
        )

    def _refuse(self, data: Any) -> None:
        if data.external or data.is_virtual:
            raise self.faults.error("keeps its data in other files, which are not opened")
        if data.dtype.itemsize > 2**16:
            raise self.faults.error(f"a row of {data.dtype.itemsize} bytes is no event")
        filters = data.id.get_create_plist()
        if any(filters.get_filter(i)[0] == _ECF for i in range(filters.get_nfilters())):
            raise self.faults.error(
                "is compressed with Prophesee's ECF codec, which no package brings: convert it with their tools, "
                "such as metavision_file_to_hdf5's counterpart metavision_hdf5_to_raw"
            )

    def _read_sensor(self, file: Any) -> None:
        for width, height in (("width", "height"), ("sensor_width", "sensor_height")):
            if width in file.attrs and height in file.attrs:
                self.sensor = sensor_of(int(file.attrs[width]), int(file.attrs[height]))
        geometry = str(file.attrs.get("geometry", ""))
        if "x" in geometry:
            sizes = geometry.split("x")
            if len(sizes) == 2 and all(size.isdecimal() for size in sizes):
                self.sensor = sensor_of(int(sizes[0]), int(sizes[1]))


def _kind(data: Any, field: Any) -> str:
    return (data.dtype[field] if isinstance(field, str) else data.dtype).kind


def _offset(file: Any, t: Any) -> float:
    """What DSEC's files take from each time."""
    for place in (t.parent, file):
        if "t_offset" in place and place["t_offset"].size == 1:
            return float(np.asarray(place["t_offset"]).reshape(-1)[0])
    return 0.0
