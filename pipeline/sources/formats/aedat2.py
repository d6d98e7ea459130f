"""AEDAT 1 and 2, jAER's formats: addresses whose bits are those of a chip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.coding.decode import Clock, unwrap
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_BYTES, BaseReader, Faults, InputOptions, is_text
from pipeline.sources.options import Chip

_MOST_HEADER = 2**24
_END = b"#End Of ASCII Header"


@dataclass(frozen=True)
class ChipBits:
    """How a chip's pixels are written into an address; y counts from below in all of them.

    Attributes:
        width: columns.
        height: rows.
        x: position and number of the bits of x; so are ``y`` and ``p``.
        y: see x.
        p: see x.
        on: the value of p that means ON.
        not_events: bits that mark what is no event of a pixel: frames, motion sensor, inputs.
    """

    width: int
    height: int
    x: tuple[int, int]
    y: tuple[int, int]
    p: int
    on: int
    not_events: int


CHIPS: dict[Chip, ChipBits] = {
    "DVS128": ChipBits(128, 128, (1, 7), (8, 7), 0, 0, 0x8000),
    "DAVIS240": ChipBits(240, 180, (12, 10), (22, 9), 11, 1, 0x8000_0400),
    "DAVIS346": ChipBits(346, 260, (12, 10), (22, 9), 11, 1, 0x8000_0400),
    "DVS640": ChipBits(640, 480, (1, 10), (11, 10), 0, 1, 0),
}
"""x is stored mirrored by all of them: column 0 is the largest x. The DAVIS: jAER's DavisBaseCamera, and a recording
with known motion; DVS128: jAER's DVS128; DVS640: v2e's writer."""

_NAMES: dict[str, Chip] = {
    "tmpdiff128": "DVS128", "dvs128": "DVS128", "davis240": "DAVIS240", "sbret10": "DAVIS240", "davis346": "DAVIS346",
    "dvs640": "DVS640",
}  # fmt: skip
"""What a header's ``AEChip`` begins with, in lower case."""


class Aedat2(BaseReader):
    """Big-endian addresses and times in us: u32 and u32 in version 2, u16 and u32 in version 1.

    jAER counts rows from below and stores columns mirrored; ours grow right and down.
    """

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        header = _header(path)
        self._start, self._row_bytes = len(header), 6 if _is_version_1(header, options) else 8
        named = re.search(r"AEChip: *(\S+)", header.decode("latin-1"))
        chip = options.chip or self._chip(named[1].rpartition(".")[2] if named else "", options.sensor)
        self._bits = CHIPS[chip]
        self.sensor: Sensor | None = Sensor(width=self._bits.width, height=self._bits.height)
        self.details["chip"] = chip

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        clock, others, n = Clock(32), 0, self._row_bytes
        with self.path.open("rb") as file:
            file.seek(self._start)
            while block := file.read(CHUNK_BYTES // n * n):
                rest = len(block) % n
                self.faults.found(
                    "truncated_bytes", rest, f"truncated, its last {rest} bytes are no whole {n}-byte event"
                )
                address, low = _columns(block[: len(block) - rest], n)
                events, skipped = self._events(address, unwrap(clock, low))
                others += skipped
                yield Reading(events, file.tell() / self.size)
        if clock.wraps:
            self.details["clock_wraps"] = clock.wraps
        if others:
            self.details["words_that_are_no_events"] = others

    def _chip(self, name: str, sensor: Sensor | None) -> Chip:
        if name:
            known: Chip | None = next(
                (chip for start, chip in _NAMES.items() if name.lower().startswith(start)), None
            )
            if known:
                return known
            raise self.faults.error(
                f"its header names the chip {name}, which is not known: give --chip, one of {', '.join(CHIPS)}"
            )
        if self._row_bytes == 6:
            return "DVS128"  # the only one whose addresses fit 16 bits
        for chip, bits in CHIPS.items():
            if sensor and (sensor.width, sensor.height) == (bits.width, bits.height):
                return chip
        raise self.faults.error(
            f"its header names no chip: give --chip, one of {', '.join(CHIPS)}, or the --sensor size of one of them "
            f"({', '.join(f'{b.width}x{b.height}' for b in CHIPS.values())})"
        )

    def _events(self, address: NDArray[np.uint32], t: NDArray[np.int64]) -> tuple[Events, int]:
        """Events, and how many words are none; pixels that the chip has not are counted."""
        bits = self._bits
        # What no pixel has wraps to beyond the last column and row.
        x = np.uint32(bits.width - 1) - ((address >> np.uint32(bits.x[0])) & np.uint32((1 << bits.x[1]) - 1))
        y = np.uint32(bits.height - 1) - ((address >> np.uint32(bits.y[0])) & np.uint32((1 << bits.y[1]) - 1))
        p = (address & np.uint32(1 << bits.p)) == np.uint32(bits.on << bits.p)
        ours = (address & np.uint32(bits.not_events)) == 0
        n = int(np.count_nonzero(ours))
        on_chip = ours & (x < bits.width) & (y < bits.height)
        kept = int(np.count_nonzero(on_chip))
        self.faults.found(
            "dropped_outside_sensor", n - kept, f"{n - kept} events lie outside its {self.sensor} sensor"
        )
        events = t, x.astype(np.uint16), y.astype(np.uint16), p
        if kept < len(ours):
            events = t[on_chip], events[1][on_chip], events[2][on_chip], p[on_chip]
        return events, len(ours) - n


def _is_version_1(header: bytes, options: InputOptions) -> bool:
    return header.startswith(b"#!AER-DAT1") or (
        options.format == "AEDAT1" and not header.startswith(b"#!AER-DAT")
    )


def _columns(block: bytes, row_bytes: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    kind = np.dtype([("address", ">u4" if row_bytes == 8 else ">u2"), ("t", ">u4")])
    rows = np.frombuffer(block, kind)
    return rows["address"].astype(np.uint32), rows["t"].astype(np.int64)


def _header(path: Path) -> bytes:
    """The lines at the start that begin with ``#``, up to the one that says that it is the last; jAER writes 175 kB.

    Older files lack that line: there the header is over where a line is no text. The first event's address may
    begin with the byte of ``#`` too.
    """
    taken = bytearray()
    with path.open("rb") as file:
        while len(taken) < _MOST_HEADER:
            line = file.readline(_MOST_HEADER)
            if not line.startswith(b"#") or not line.endswith(b"\n"):
                break
            if not is_text(line):
                break
            taken += line
            if line.startswith(_END):
                break
    return bytes(taken)
