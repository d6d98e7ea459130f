"""AEDAT4, iniVation's format: packets of flatbuffers, compressed with LZ4 or zstd.

``#!AER-DAT4.0``, a size and an IOHeader (compression, position of the table of contents, XML about the streams);
then per packet i32 stream, i32 size and the compressed flatbuffer, up to the table. The libraries that read it lose
events, give none, or abort the process over a damaged file; decompression is pyarrow's, in bounded pieces.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from pipeline import packets
from pipeline.optional_imports import later
from pipeline.packets import Events
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import BaseReader, Faults, InputOptions, sensor_of

pa = later("pyarrow", "AEDAT4")

_MAGIC = b"#!AER-DAT4.0\r\n"
_EVENT = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
TRIGGER_TYPES = {
    0: (4, 1), 1: (0, 1), 2: (0, 0), 3: (0, 1), 4: (1, 1), 5: (1, 0), 6: (2, 1), 7: (2, 0), 8: (3, 1), 9: (3, 0),
}  # fmt: skip
"""DV's types as (channel, level): 0 the external input, 1 the generator, 2 a frame, 3 its exposure, 4 a reset."""
_CODECS = {0: None, 1: "lz4", 2: "lz4", 3: "zstd", 4: "zstd"}
_MAX_HEADER, _MAX_PACKET = 2**20, 2**28
_SURELY_ABSOLUTE_US = 10**14
"""Times beyond this count from 1970 already."""


class Aedat4(BaseReader):
    """The events of a file's first event stream, and all triggers."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise faults.error("not a readable AEDAT4 file: another version than 4.0")
            size = _i32(file.read(4))
            if not 0 < size <= _MAX_HEADER:
                raise faults.error(f"not a readable AEDAT4 file: a header of {size} bytes")
            header = file.read(size)
            self._start = file.tell()
        if len(header) != size:
            raise faults.error("holds no events")
        root = _offset(header, 0)
        self._codec = _CODECS[_int8(header, _field(header, root, 0))]
        table = _field(header, root, 1)
        self._end = struct.unpack_from("<q", header, table)[0] if table else -1
        streams = _streams(_text(header, _field(header, root, 2)))
        found = [number for number, stream in streams.items() if stream.get("typeIdentifier") == "EVTS"]
        if not found:
            raise faults.error("holds no event stream")
        self._events = found[0]
        self._triggers = {number for number, one in streams.items() if one.get("typeIdentifier") == "TRIG"}
        stream = streams[self._events]
        self.sensor = sensor_of(int(stream.get("sizeX", 0)), int(stream.get("sizeY", 0)))
        offset_us = int(stream.get("tsOffset", 0))
        self.epoch_ns = offset_us * 1000 if 0 < offset_us < 2**53 else 0
        if len(found) > 1:
            self.details["other_event_streams"] = len(found) - 1

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        size = self.size
        end = self._end if self._start <= self._end <= size else size
        with self.path.open("rb") as file:
            file.seek(self._start)
            while (at := file.tell()) < end:
                head = file.read(8)
                stream, length = struct.unpack("<ii", head) if len(head) == 8 else (0, -1)
                if not 0 <= length <= end - at - 8:
                    self.faults.found(
                        "broken_off", 1, f"broken off: byte {at} begins a packet that does not fit"
                    )
                    return
                if stream == self._events:
                    yield Reading(self._event_packet(self._unpacked(file, length)), file.tell() / size)
                elif stream in self._triggers:
                    marks = _trigger_packet(self._unpacked(file, length))
                    yield Reading(packets.no_events(), file.tell() / size, marks)
                else:
                    file.seek(length, 1)
        if self._end > size:
            self.faults.found("broken_off", 1, f"broken off: it states {self._end} bytes of packets")

    def _unpacked(self, file: IO[bytes], length: int) -> bytes:
        data = file.read(length)
        if self._codec is None:
            return data
        with pa.CompressedInputStream(pa.BufferReader(data), self._codec) as stream:
            parts: list[bytes] = []
            total = 0
            while part := stream.read(max(4 * length, 2**16)):
                parts.append(part)
                total += len(part)
                if total > _MAX_PACKET:
                    raise ValueError(f"a packet unpacks to more than {_MAX_PACKET} bytes")
        return b"".join(parts) if len(parts) > 1 else parts[0] if parts else b""

    def _event_packet(self, data: bytes) -> Events:
        at, n = _vector(data)
        rows = np.frombuffer(data, _EVENT, n, at) if n else np.empty(0, _EVENT)
        if n and int(rows["t"][0]) > _SURELY_ABSOLUTE_US:
            self.epoch_ns = 0
        x, y = rows["x"], rows["y"]
        usable = (x >= 0) & (y >= 0)
        if not usable.all():
            bad = n - int(np.count_nonzero(usable))
            self.faults.found("dropped_unusable_rows", bad, f"{bad} events have negative coordinates")
            rows = rows[usable]
        return (
            np.ascontiguousarray(rows["t"], np.int64), rows["x"].astype(np.uint16), rows["y"].astype(np.uint16),
            rows["p"] != 0,
        )  # fmt: skip


def _trigger_packet(data: bytes) -> Triggers:
    """Triggers are tables, each of a time and a type: there are few of them."""
    at, n = _vector(data)
    if n == 0:
        return no_triggers()
    marks = np.zeros((n, 3), np.int64)
    for i, relative in enumerate(np.frombuffer(data, "<u4", n, at).tolist()):
        table = at + 4 * i + relative
        time, kind = _field(data, table, 0), _field(data, table, 1)
        channel_and_level = TRIGGER_TYPES.get(_int8(data, kind), (15, 1))
        marks[i] = struct.unpack_from("<q", data, time)[0] if time else 0, *channel_and_level
    return marks


def _streams(xml: str) -> dict[int, dict[str, str]]:
    """Attributes of each stream. The XML is DV's own and flat: it is searched, not parsed as what it might be."""
    found: dict[int, dict[str, str]] = {}
    number: int | None = None
    for mark in re.finditer(r'<node name="(\w+)"|<attr key="(\w+)"[^>]*>([^<]*)<', xml):
        node, key, value = mark.groups()
        if node is not None and node.isdecimal() and len(node) < 9:
            number = int(node)
        elif key is not None and number is not None:
            found.setdefault(number, {}).setdefault(key, value)
    return found


def _vector(data: bytes) -> tuple[int, int]:
    """(where its elements begin, how many) of the one vector in a packet with a size before it."""
    root = 4 + _offset(data, 4)
    place = _field(data, root, 0)
    if not place:
        return 0, 0
    at = place + _offset(data, place)
    n = _offset(data, at)
    return at + 4, n


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a table lies; 0 where it has its default."""
    if not 0 <= table <= len(data) - 4:
        raise ValueError("a flatbuffer points outside itself")
    vtable = table - _i32(data[table : table + 4])
    if not 0 <= vtable <= len(data) - 4:
        raise ValueError("a flatbuffer points outside itself")
    (size,) = struct.unpack_from("<H", data, vtable)
    slot = 4 + 2 * index
    if slot + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + slot)
    return table + offset if offset else 0


def _offset(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


def _text(data: bytes, at: int) -> str:
    if not at:
        return ""
    start = at + _offset(data, at)
    n = _offset(data, start)
    return data[start + 4 : start + 4 + n].decode("utf-8", "replace")


def _i32(data: bytes) -> int:
    return struct.unpack("<i", data)[0]


def _int8(data: bytes, at: int) -> int:
    return data[at] if at else 0
