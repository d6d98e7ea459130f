"""ROS 1 and ROS 2 bags, through rosbags (extra ``ros``).

Messages are taken as bytes and their events as rows: nothing is built per event.
"""

from __future__ import annotations

import importlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.coding import decode
from kernels.coding.decode import Decoder, no_triggers
from pipeline.packets import Events
from pipeline.sources.base import Reading
from pipeline.sources.formats.prophesee import account
from pipeline.sources.formats.reader import BaseReader, Faults, InputOptions, sensor_of

_ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
_PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
_WORDS = {"evt2": 4, "evt3": 2}
_ENCODINGS = (*_WORDS, "mono", "libcaer")
_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("sec", "<u4"), ("nsec", "<u4"), ("p", "u1")])


_Taken = tuple[Events, tuple[int, int], bool]
"""Events of a message, (width, height), and whether their times count from 1970."""


class Bag(BaseReader):
    """Events of one topic of a bag: EventArray (dvs_msgs, prophesee_event_msgs), or EventPacket (event_camera_msgs,
    and event_array_msgs before it) in EVT2, EVT3, mono or libcaer.

    Messages are taken apart here, so that bags without type definitions (rosbag2 in SQLite before 2023) are read.
    Where times count from 1970 (EventArray, libcaer), stream time 0 is the whole second in which the first event
    lies, and ``epoch_ns`` says which. EVT2, EVT3 and mono hold the sensor's own clock, whose epoch nobody knows.
    """

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        try:
            self._bags: Any = importlib.import_module("rosbags.highlevel")
            self._types: Any = importlib.import_module("rosbags.typesys")
        except ImportError as problem:
            raise faults.error(
                "a ROS bag, which takes the package rosbags: install polychrony with the extra ros"
            ) from problem
        self._path, self._ros1 = path, False
        if not path.is_dir():
            with path.open("rb") as file:
                self._ros1 = file.read(7) == b"#ROSBAG"
            if not self._ros1:
                self._path = self._folder_of(path)
            elif path.suffix != ".bag":
                raise faults.error(
                    "a ROS 1 bag whose name does not end in .bag, by which its library goes: give it as a file "
                    "of such a name, not through standard input"
                )
        self._decoder: Decoder | None = None

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        self._decoder, zero_s = None, None
        empty = self._types.get_typestore(self._types.Stores.EMPTY)
        with self._bags.AnyReader([self._path], default_typestore=empty) as bag:
            chosen = self._topic(bag.connections)
            total = max(sum(one.msgcount for one in chosen), 1)
            ros1 = self._ros1
            for i, (connection, _, raw) in enumerate(bag.messages(connections=chosen)):
                if not ros1 and raw[1:2] != b"\x01":
                    raise self.faults.error(
                        "its messages are not little-endian CDR, the only encoding that is read"
                    )
                body = raw if ros1 else raw[4:]
                take = _array if connection.msgtype in _ARRAYS else self._packet
                events, size, since_1970 = take(body, ros1)
                if zero_s is None and len(events[0]):
                    zero_s = int(events[0][0]) // 10**6 if since_1970 else 0
                    self.epoch_ns = zero_s * 10**9
                self.sensor = self.sensor or sensor_of(*size)
                t = events[0] - (zero_s or 0) * 10**6
                triggers = self._decoder.triggers if self._decoder else no_triggers()
                yield Reading((t, *events[1:]), min(1.0, (i + 1) / total), triggers)
        if self._decoder is not None:
            account(self._decoder, self.faults)
            if self._decoder.state[decode.WRAPS]:
                self.details["clock_wraps"] = int(self._decoder.state[decode.WRAPS])

    def _topic(self, connections: list[Any]) -> list[Any]:
        """All connections of the one topic: a driver that was started again has another."""
        known = [c for c in connections if c.msgtype in (*_ARRAYS, *_PACKETS)]
        chosen = [c for c in known if self.options.topic in {None, c.topic}]
        if len({c.topic for c in chosen}) != 1:
            if not known:
                held = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in connections})[:8]) or "nothing"
                raise self.faults.error(
                    f"holds no events: {held}; allowed are {', '.join((*_ARRAYS, *_PACKETS))}"
                )
            held = ", ".join(sorted({c.topic for c in known}))
            raise self.faults.error(f"choose one of its event topics with --topic: {held}")
        return chosen

    def _folder_of(self, path: Path) -> Path:
        """The folder whose description lists this .db3 or .mcap."""
        described = path.parent / "metadata.yaml"
        text = described.read_text(errors="replace") if described.is_file() else ""
        if not re.search(rf"(?:path:|- ) *['\"]?{re.escape(path.name)}['\"]? *$", text, re.MULTILINE):
            raise self.faults.error(
                "a part of a ROS 2 bag, and no metadata.yaml beside it lists it: `ros2 bag reindex` makes one"
            )
        return path.parent

    def _packet(self, body: bytes, ros1: bool) -> _Taken:
        fields = _Fields(body, ros1)
        fields.header()
        height, width = fields.take("<I", 4), fields.take("<I", 4)
        fields.take("<Q", 8)
        base_ns = fields.take("<Q", 8)
        encoding, is_big = fields.text(), fields.take("<B", 1)
        n = fields.take("<I", 4)
        if encoding not in _ENCODINGS or is_big:
            order = "big-endian " if is_big else ""
            raise self.faults.error(
                f"its packets are {order}{encoding!r}; allowed are {', '.join(_ENCODINGS)}, little-endian"
            )
        if encoding not in _WORDS:
            take = _mono if encoding == "mono" else self._libcaer
            rest = n % 8
            self.faults.found(
                "truncated_bytes", rest, f"a packet ends in {rest} bytes that are no whole event"
            )
            return take(fields.rest(n)[: n - rest], base_ns), (width, height), encoding == "libcaer"
        if self._decoder is None:
            self._decoder = Decoder(_WORDS[encoding])
        return decode.decode(self._decoder, fields.rest(n)), (width, height), False

    def _libcaer(self, data: bytes, base_ns: int) -> Events:
        """Polarity events that are marked as valid."""
        valid = (np.frombuffer(data, "<u4")[::2] & 1) == 1
        bad = len(valid) - int(np.count_nonzero(valid))
        self.faults.found("dropped_invalid_events", bad, f"{bad} events are marked as invalid")
        t, x, y, p = _libcaer(data, base_ns)
        return (t[valid], x[valid], y[valid], p[valid]) if bad else (t, x, y, p)


class _Fields:
    """A serialised message, field by field: packed in ROS 1, aligned (CDR) in ROS 2."""

    def __init__(self, body: bytes, packed: bool) -> None:
        self._body, self._packed, self._at = body, packed, 0

    def take(self, code: str, size: int) -> int:
        if not self._packed:
            self._at += -self._at % size
        (value,) = struct.unpack_from(code, self._body, self._at)
        self._at += size
        return value

    def text(self) -> str:
        n = self.take("<I", 4)
        value = bytes(self._body[self._at : self._at + n])
        self._at += n
        return value.rstrip(b"\0").decode("latin-1")

    def header(self) -> None:
        if self._packed:
            self.take("<I", 4)  # ROS 1 counts messages
        self.take("<I", 4)
        self.take("<I", 4)
        self.text()

    def rest(self, n: int) -> bytes:
        found = bytes(self._body[self._at : self._at + n])
        if len(found) != n:
            raise ValueError("a message ends before its events do")
        return found

    @property
    def at(self) -> int:
        return self._at


def _mono(data: bytes, base_ns: int) -> Events:
    """u32 ns behind the packet's base, u16 x, 15 bits y, 1 bit p."""
    rows = np.frombuffer(data, "<u8")
    t = (np.int64(min(base_ns, 2**62)) + (rows & np.uint64(0xFFFFFFFF)).astype(np.int64)) // 1000
    x, y = ((rows >> np.uint64(shift)).astype(np.uint16) for shift in (32, 48))
    return t, x, y & np.uint16(0x7FFF), (rows >> np.uint64(63)) != 0


def _libcaer(data: bytes, base_ns: int) -> Events:
    """libcaer's polarity events: u32 with 15 bits x, 15 bits y and p, i32 us that may begin again within a packet."""
    rows = np.frombuffer(data, "<u4").reshape(-1, 2)
    word, low = rows[:, 0], rows[:, 1].astype(np.int64) & 0x7FFFFFFF
    wraps = np.cumsum(np.diff(low, prepend=low[:1]) < 0)
    t = np.int64(min(base_ns, 2**62) // 1000) + low + (wraps << 31)
    return (
        t,
        ((word >> 17) & 0x7FFF).astype(np.uint16),
        ((word >> 2) & 0x7FFF).astype(np.uint16),
        (word & 2) != 0,
    )


def _array(body: bytes, ros1: bool) -> _Taken:
    fields = _Fields(body, ros1)
    fields.header()
    height, width, n = fields.take("<I", 4), fields.take("<I", 4), fields.take("<I", 4)
    rows = _packed_rows(body, fields.at, n) if ros1 else _aligned_rows(body, fields.at, n)
    t = rows["sec"].astype(np.int64) * 10**6 + rows["nsec"].astype(np.int64) // 1000
    return (t, rows["x"].astype(np.uint16), rows["y"].astype(np.uint16), rows["p"] > 0), (width, height), True


def _packed_rows(body: bytes, at: int, n: int) -> NDArray[Any]:
    return np.frombuffer(body, _EVENT, n, at)


def _aligned_rows(body: bytes, at: int, n: int) -> NDArray[Any]:
    """Events as CDR aligns them: the times lie on multiples of 4, so from the second on they are 16 bytes apart."""
    made = np.zeros(n, _EVENT)
    raw = np.frombuffer(body, np.uint8)
    if n == 0:
        return made
    if at + 16 * n - 3 > len(raw) + 2:
        raise ValueError("a message ends before its events do")
    starts = at + np.concatenate([[0], 14 + 16 * np.arange(n - 1)])
    times = starts + 4 + (-starts) % 4
    for name, places in (
        ("x", starts),
        ("y", starts + 2),
        ("sec", times),
        ("nsec", times + 4),
        ("p", times + 8),
    ):
        code = _EVENT[name]
        made[name] = raw[places[:, None] + np.arange(code.itemsize)].view(code).reshape(n)
    return made
