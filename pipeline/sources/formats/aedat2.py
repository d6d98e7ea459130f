"""AEDAT2, jAER's format. Nothing here reads AEDAT3.1: no maintained library does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kernels.decode import Clock, unwrap
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_BYTES, BaseReader, Faults, Options
from pipeline.spec import Sensor


class Aedat2(BaseReader):
    """AEDAT2: big-endian u32 address and us; the address's bits are those of the chip that the header names.

    jAER counts rows from below and, on the DVS128, columns from the right; ours grow right and down.
    """

    def __init__(self, path: Path, faults: Faults, options: Options) -> None:
        super().__init__(path, faults, options)
        with path.open("rb") as file:
            head = file.read(65_536)
        header = b"".join(_comments(head))
        self._start = len(header)
        chip = re.search(r"AEChip: *(\S+)", header.decode("latin-1"))
        self._chip = chip[1].rpartition(".")[2].lower() if chip else ""
        self.sensor = options.sensor or _chip_sensor(self._chip)
        if self.sensor is None:
            raise faults.error(
                f"its header names the chip {self._chip or '(none)'}, whose size is not known: give the sensor"
            )

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        clock = Clock(32)
        with self.path.open("rb") as file:
            file.seek(self._start)
            while block := file.read(CHUNK_BYTES):
                rest = len(block) % 8
                self.faults.found(
                    "truncated_bytes", rest, f"truncated, its last {rest} bytes are no whole 8-byte word"
                )
                rows = np.frombuffer(block, ">u4", len(block) // 8 * 2).reshape(-1, 2).astype(np.int64)
                yield Reading(
                    self._events(rows[:, 0], unwrap(clock, rows[:, 1].copy())), file.tell() / self.size
                )
        if clock.wraps:
            self.details["clock_wraps"] = clock.wraps

    def _events(self, address: Any, t: Any) -> Any:
        sensor = self.sensor
        if sensor is None:
            raise self.faults.error("has no sensor")
        if "dvs128" in self._chip:
            x, y, p = 127 - ((address >> 1) & 127), 127 - ((address >> 8) & 127), (address & 1) == 0
            ours = (address & 0x8000) == 0  # the other bit marks what an input saw
        else:
            ours = ((address >> 31) == 0) & ((address & 0x400) == 0)  # frames, motion sensor, special
            x, y = (address >> 12) & 1023, sensor.height - 1 - ((address >> 22) & 511)
            p = ((address >> 11) & 1) == 1
        ours &= y >= 0
        return t[ours], x[ours].astype(np.uint16), y[ours].astype(np.uint16), p[ours]


def _comments(head: bytes) -> Iterator[bytes]:
    start = 0
    while head[start : start + 1] == b"#":
        end = head.find(b"\n", start)
        if end < 0:
            return
        yield head[start : end + 1]
        start = end + 1


def _chip_sensor(chip: str) -> Sensor | None:
    if "dvs128" in chip:
        return Sensor(width=128, height=128)
    if "346" in chip:
        return Sensor(width=346, height=260)
    return Sensor(width=240, height=180) if "240" in chip else None
