"""ROS 1 and ROS 2 bags, through rosbags (extra ``ros``).

Messages are taken as bytes and their events as rows: nothing is built per event.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import decode
from kernels.decode import Decoder
from pipeline.packets import Events
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import BaseReader, Faults, Options, sensor_of

_ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
_PACKETS = "event_camera_msgs/msg/EventPacket"
_WORDS = {"evt2": 4, "evt3": 2}
_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("sec", "<u4"), ("nsec", "<u4"), ("p", "u1")])


class Bag(BaseReader):
    """Events of one topic of a bag: EventArray (dvs_msgs, prophesee_event_msgs) or EventPacket in EVT2 or EVT3.

    Stream time 0 is the whole second in which the first event lies; ``epoch_ns`` says which.
    """

    def __init__(self, path: Path, faults: Faults, options: Options) -> None:
        super().__init__(path, faults, options)
        try:
            self._bags: Any = importlib.import_module("rosbags.highlevel")
        except ImportError as problem:
            raise faults.error(
                "a ROS bag, which takes the package rosbags: install polychrony with the extra ros"
            ) from problem
        # A .db3 or .mcap is part of a folder that describes it.
        self._path = path if path.suffix == ".bag" or path.is_dir() else path.parent
        self._decoder: Decoder | None = None

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        self._decoder, zero_s = None, None
        with self._bags.AnyReader([self._path]) as bag:
            topic = self._topic(bag.connections)
            total = max(topic.msgcount, 1)
            ros1 = self._path.suffix == ".bag"
            for i, (connection, _, raw) in enumerate(bag.messages(connections=[topic])):
                body = raw if ros1 else raw[4:]
                take = _array if connection.msgtype in _ARRAYS else self._packet
                events, size = take(body, ros1)
                if zero_s is None and len(events[0]):
                    zero_s = int(events[0][0]) // 10**6
                    self.epoch_ns = zero_s * 10**9
                self.sensor = self.sensor or sensor_of(*size)
                t = events[0] - (zero_s or 0) * 10**6
                yield Reading((t, *events[1:]), min(1.0, (i + 1) / total))

    def _topic(self, connections: list[Any]) -> Any:
        known = [c for c in connections if c.msgtype in (*_ARRAYS, _PACKETS)]
        chosen = [c for c in known if self.options.topic in {None, c.topic}]
        if len({c.topic for c in chosen}) != 1:
            held = ", ".join(sorted({c.topic for c in known})) or "none"
            raise self.faults.error(f"choose one of its event topics: {held}")
        return chosen[0]

    def _packet(self, body: bytes, ros1: bool) -> tuple[Events, tuple[int, int]]:
        fields = _Fields(body, ros1)
        fields.header()
        height, width = fields.take("<I", 4), fields.take("<I", 4)
        fields.take("<Q", 8)
        base_ns = fields.take("<Q", 8)
        encoding, _ = fields.text(), fields.take("<B", 1)
        n = fields.take("<I", 4)
        if encoding not in _WORDS:
            raise self.faults.error(f"its packets are encoded as {encoding!r}; allowed are evt2, evt3")
        if self._decoder is None:
            self._decoder = Decoder(_WORDS[encoding])
            self._base_us = base_ns // 1000
        return decode.decode(self._decoder, fields.rest(n), self._base_us), (width, height)


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


def _array(body: bytes, ros1: bool) -> tuple[Events, tuple[int, int]]:
    fields = _Fields(body, ros1)
    fields.header()
    height, width, n = fields.take("<I", 4), fields.take("<I", 4), fields.take("<I", 4)
    rows = _packed_rows(body, fields.at, n) if ros1 else _aligned_rows(body, fields.at, n)
    t = rows["sec"].astype(np.int64) * 10**6 + rows["nsec"].astype(np.int64) // 1000
    return (t, rows["x"].astype(np.uint16), rows["y"].astype(np.uint16), rows["p"] > 0), (width, height)


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
