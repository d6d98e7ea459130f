"""Prophesee's recordings: EVT2, EVT2.1, EVT3 and DAT."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kernels.coding import decode
from kernels.coding.decode import Clock, Decoder
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_BYTES, BaseReader, Faults, InputOptions, is_text, sensor_of

WORD_BYTES = {"EVT2": 4, "EVT2.1": 8, "EVT3": 2}
_HEADER = 65_536
_DAT_TYPES = frozenset({0, 12})
_LOOKED_AT = 4096
"""Words at a file's start that are looked at where its header leaves something open."""
_KINDS_21 = (0, 1, 8, 10, 14, 15)
"""Types that EVT2.1 documents."""
_CAMERAS = {
    "genx320": Sensor(width=320, height=320),
    "imx636": Sensor(width=1280, height=720),
    "gen4": Sensor(width=1280, height=720),
    "gen3": Sensor(width=640, height=480),
}
"""Sensors of the cameras whose recorder wrote its name into the header, and nothing of its size."""


def identify(head: bytes) -> str | None:
    """The format that a ``%`` header names, or that the bytes behind it show."""
    header = b"\n".join(_header_lines(head)).lower()
    stated = re.findall(rb"^% *(?:evt|format)\b.*$", header, re.MULTILINE)
    header, whole = b"\n".join(stated), header
    if b"evt 4" in header or b"evt4" in header:
        return "EVT4"
    if b"%geometry" in whole:
        return None  # a table
    if b"evt 3" in header or b"evt3" in header:
        return "EVT3"
    if b"evt 2.1" in header or b"evt21" in header or b"evt2.1" in header:
        return "EVT2.1"
    if b"evt 2" in header or b"evt2" in header:
        return "EVT2"
    if b"% version" in whole or b"data file" in whole or b"% height" in whole:
        return "DAT"
    rest = head[sum(len(line) + 1 for line in _header_lines(head)) :]
    return "DAT" if len(rest) >= 2 and rest[0] in _DAT_TYPES and rest[1] == 8 else None


class Raw(BaseReader):
    """EVT2, EVT2.1 and EVT3; without a header where the format is given."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        header = _header(path)
        self.start = len(header)
        kind = options.format or identify(header)
        self._word_bytes = WORD_BYTES.get(kind or "", 2)
        self.sensor = _geometry(header)
        self._swapped = self._word_bytes == 8 and self._is_legacy(header)

    def decoder(self) -> Decoder:
        """A fresh decoder of its words."""
        return Decoder(self._word_bytes, swapped=self._swapped)

    def _is_legacy(self, header: bytes) -> bool:
        """Whether the halves of EVT2.1's words are swapped, as the IMX636 sends them: stated, or seen."""
        stated = re.search(rb"endianness *= *(\w+)", header.lower())
        if stated:
            if stated[1] not in {b"legacy", b"little"}:
                raise self.faults.error(
                    f"states the endianness {stated[1].decode('latin-1')}; allowed are little, legacy"
                )
            return stated[1] == b"legacy"
        with self.path.open("rb") as file:
            file.seek(self.start)
            block = file.read(8 * _LOOKED_AT)
        halves = np.frombuffer(block, "<u4", len(block) // 8 * 2).reshape(-1, 2) >> 28
        odd_low, odd_high = (int(np.count_nonzero(~np.isin(one, _KINDS_21))) for one in halves.T)
        if odd_low < odd_high and odd_low == 0:
            self.details["halves_of_words"] = "swapped (seen, not stated)"
            return True
        return False

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        decoder = self.decoder()
        with self.path.open("rb") as file:
            file.seek(self.start)
            while block := file.read(CHUNK_BYTES):
                events = decode.decode(decoder, block)
                yield Reading(events, file.tell() / self.size, decoder.triggers)
        self._account(decoder)

    def _account(self, decoder: Decoder) -> None:
        account(decoder, self.faults)
        if decoder.state[decode.WRAPS]:
            self.details["clock_wraps"] = int(decoder.state[decode.WRAPS])


def account(decoder: Decoder, faults: Faults) -> None:
    """Tell what a decoder could not decode.

    Raises:
        SourceError: that is an error here.
    """
    rest, ignored = len(decoder.rest), decoder.ignored
    faults.found(
        "truncated_bytes",
        rest,
        f"truncated, its last {rest} bytes are no whole {decoder.word_bytes}-byte word",
    )
    for what, sentence in (
        ("untimed", "events stand before the first time"),
        ("unknown_words", "words are of no type that is documented"),
    ):
        faults.found(f"dropped_{what}", ignored[what], f"{ignored[what]} {sentence}")


class Dat(BaseReader):
    """DAT: u32 us, then 14 bits x, 14 bits y, 4 bits p (version 2, also called 2d) or 9, 8 and 1 bits (version 1).

    A file that states no version is of version 2 where a word needs more than the 18 bits of version 1.
    """

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        header = _header(path)
        self.start = len(header) + 2
        self.sensor = _geometry(header)
        version = re.search(rb"% version[ :]+(\d+)", header.lower())
        if version and int(version[1]) not in {1, 2}:
            raise faults.error(f"DAT version {int(version[1])} is not read; allowed are 1, 2")
        with path.open("rb") as file:
            file.seek(len(header))
            kind = file.read(2)
            block = file.read(8 * _LOOKED_AT)
        if len(kind) == 2 and (kind[0] not in _DAT_TYPES or kind[1] != 8):
            raise faults.error(f"holds rows of type {kind[0]} and {kind[1]} bytes, not events of 8 bytes")
        words = np.frombuffer(block, "<u4", len(block) // 8 * 2)[1::2]
        large = self.sensor is not None and (self.sensor.width > 512 or self.sensor.height > 256)
        self._version = int(version[1]) if version else 2 if large or np.any(words >> 18) else 1
        if not version:
            self.details["dat_version"] = f"{self._version} (from the values; the header states none)"

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        clock = Clock(32)  # wraps after 71 minutes
        with self.path.open("rb") as file:
            file.seek(self.start)
            while block := file.read(CHUNK_BYTES):
                rows = np.frombuffer(block, "<u4", len(block) // 8 * 2).reshape(-1, 2)
                self.faults.found(
                    "truncated_bytes", len(block) % 8,
                    f"truncated, its last {len(block) % 8} bytes are no whole 8-byte word",
                )  # fmt: skip
                t, word = decode.unwrap(clock, rows[:, 0].astype(np.int64)), rows[:, 1]
                x_bits, y_bits = (14, 14) if self._version == 2 else (9, 8)
                events = (
                    t, (word & ((1 << x_bits) - 1)).astype(np.uint16),
                    ((word >> x_bits) & ((1 << y_bits) - 1)).astype(np.uint16), (word >> (x_bits + y_bits)) > 0,
                )  # fmt: skip
                yield Reading(events, file.tell() / self.size)
        if clock.wraps:
            self.details["clock_wraps"] = clock.wraps


def header_is_whole(head: bytes) -> bool:
    """Whether a ``%`` header that may still be written is over: by its last line, or by bytes that are no line."""
    header = b"".join(line + b"\n" for line in _header_lines(head))
    rest = head[len(header) :]
    return header.rstrip().endswith(b"% end") or (len(rest) > 0 and not rest.startswith(b"%"))


def _header(path: Path) -> bytes:
    """The lines at the start that begin with ``%``."""
    with path.open("rb") as file:
        return b"".join(line + b"\n" for line in _header_lines(file.read(_HEADER)))


def _header_lines(head: bytes) -> Iterator[bytes]:
    lines = head.split(b"\n")
    for line in lines[:-1]:
        # Events may begin with this byte, too; a header's line is text.
        if not line.startswith(b"%") or not is_text(line):
            return
        yield line
        if line.strip() == b"% end":
            return


def _geometry(header: bytes) -> Sensor | None:
    """The sensor that a header states, or that the camera which it names has."""
    text = header.decode("latin-1").lower()
    found = re.search(r"geometry[ :]+(\d{1,5})x(\d{1,5})", text)
    width, height = found.groups() if found else (_number(text, "width"), _number(text, "height"))
    if width and height:
        return sensor_of(int(width), int(height))
    for name, sensor in _CAMERAS.items():
        if re.search(rf"plugin_name .*{name}", text):
            return sensor
    return None


def _number(text: str, key: str) -> str | None:
    found = re.search(rf"\b{key}[ =:]+(\d{{1,5}})\b", text)
    return found[1] if found else None
