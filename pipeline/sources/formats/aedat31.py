"""AEDAT 3.1, cAER's format, in which DVS128 Gesture was published.

``#!AER-DAT3.1``, lines that begin with ``#`` up to ``#!END-HEADER``, then packets: a header of 28 bytes (i16 type,
i16 source, i32 bytes an event, i32 offset of the time in it, i32 how often the clock has wrapped, i32 room, i32
events, i32 valid events) and its events, little-endian. A polarity event is u32 data (bit 0 valid, bit 1 polarity,
15 bits y, 15 bits x) and i32 us; rows grow downwards.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from pipeline import packets
from pipeline.packets import Events
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import BaseReader, Faults, InputOptions, sensor_of

_HEADER = struct.Struct("<hhiiiiii")
_SPECIAL, _POLARITY = 0, 1
_MOST_HEADER, _MOST_PACKET, _MOST_EVENTS = 2**24, 2**28, 2**17
_RISING, _FALLING, _PULSE = 2, 3, 4
_CHIPS = {"dvs128": (128, 128), "davis240": (240, 180), "davis346": (346, 260), "davis640": (640, 480)}


class Aedat31(BaseReader):
    """The polarity events, and the edges of the external input as triggers of channel 0."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        self._source: int | None = None
        header = bytearray()
        with path.open("rb") as file:
            while not header.rstrip().endswith(b"#!END-HEADER"):
                line = file.readline(_MOST_HEADER)
                if not line.startswith(b"#") or len(header) > _MOST_HEADER:
                    raise faults.error("not a readable AEDAT3.1 file: its header has no end")
                header += line
        self._start = len(header)
        text = header.decode("latin-1").lower()
        if re.search(r"#format: *(?!raw)\w", text):
            raise faults.error("holds compressed packets; allowed is Format: RAW")
        which = r"\d+" if options.group is None else re.escape(options.group)
        for name, (width, height) in _CHIPS.items():
            if re.search(rf"#source +{which}: *{name}", text):
                self.sensor = sensor_of(width, height)

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        at, size = self._start, self.path.stat().st_size
        skipped = passed = 0
        with self.path.open("rb") as file:
            file.seek(at)
            while head := file.read(_HEADER.size):
                if len(head) < _HEADER.size:
                    self.faults.found(
                        "truncated_bytes", len(head), f"truncated, byte {at} begins half a packet"
                    )
                    return
                kind, source, row, offset, wraps, _, n, _ = _HEADER.unpack(head)
                length = row * n
                timed = offset == 4 or kind not in {_SPECIAL, _POLARITY}
                if row < 8 or n < 0 or not timed or wraps < 0 or length > _MOST_PACKET:
                    self.faults.found("broken_off", 1, f"broken off: byte {at} begins no packet")
                    return
                left = size - at - _HEADER.size
                if length > left:
                    self.faults.found(
                        "truncated_bytes", left, f"truncated, its last packet lacks {length - left} bytes"
                    )
                    n = left // row
                if kind == _POLARITY and n and not self._is_ours(source):
                    passed += n
                elif kind == _POLARITY and row == 8:
                    for start in range(0, n, _MOST_EVENTS):
                        data = file.read(8 * min(_MOST_EVENTS, n - start))
                        yield Reading(self._polarity(data, wraps), file.tell() / size)
                elif kind == _SPECIAL and row == 8:
                    data = file.read(8 * n)
                    yield Reading(packets.no_events(), file.tell() / size, _edges(data, wraps))
                else:
                    skipped += n
                at += _HEADER.size + length
                file.seek(at)
        for what, count in (("events_of_other_kinds", skipped), ("events_of_other_sources", passed)):
            if count:
                self.details[what] = count

    def _is_ours(self, source: int) -> bool:
        """Whether events are of the camera that is read.

        Raises:
            SourceError: there are several, and nobody chose one.
        """
        if self.options.group is not None:
            return self.options.group == str(source)
        if self._source is None:
            self._source = source
        if source != self._source:
            raise self.faults.error(
                f"holds events of the sources {self._source} and {source}: choose one with --group"
            )
        return True

    def _polarity(self, data: bytes, wraps: int) -> Events:
        rows = np.frombuffer(data, "<u4").reshape(-1, 2)
        word = rows[:, 0]
        valid = (word & 1) == 1
        invalid = len(valid) - int(np.count_nonzero(valid))
        self.faults.found("dropped_invalid_events", invalid, f"{invalid} events are marked as invalid")
        word, t = word[valid], _times(rows[valid, 1], wraps)
        return (
            t,
            ((word >> 17) & 0x7FFF).astype(np.uint16),
            ((word >> 2) & 0x7FFF).astype(np.uint16),
            (word & 2) != 0,
        )


def _times(
    low: np.ndarray[tuple[int], np.dtype[np.uint32]], wraps: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return (low & 0x7FFFFFFF).astype(np.int64) + (wraps << 31)


def _edges(data: bytes, wraps: int) -> Triggers:
    rows = np.frombuffer(data, "<u4").reshape(-1, 2)
    kind = (rows[:, 0] >> 1) & 0x7F
    ours = ((rows[:, 0] & 1) == 1) & np.isin(kind, (_RISING, _FALLING, _PULSE))
    made = np.zeros((int(np.count_nonzero(ours)), 3), np.int64)
    if len(made) == 0:
        return no_triggers()
    made[:, 0], made[:, 2] = _times(rows[ours, 1], wraps), kind[ours] != _FALLING
    return made
