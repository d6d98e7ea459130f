"""The 40-bit ATIS format of N-MNIST and N-Caltech101."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels.coding.decode import Clock, decode_aer40
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_EVENTS, BaseReader

_OVERFLOW_ROW, _OVERFLOW_US = 240, 2**13
"""A row that no ATIS has marks that the clock of the recorder ran over; later times lie so much later."""


class Bin(BaseReader):
    """u8 x, u8 y, 1 bit p, 23 bits us, big-endian; it names no sensor."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        clock, overflows = Clock(23), 0
        with self.path.open("rb") as file:
            while block := file.read(5 * CHUNK_EVENTS):
                rest = len(block) % 5
                self.faults.found("truncated_bytes", rest, f"no whole 40-bit events: {rest} bytes at its end")
                t, x, y, p = decode_aer40(block[: len(block) - rest], clock)
                marks = y == _OVERFLOW_ROW
                t = t + (overflows + np.cumsum(marks)) * _OVERFLOW_US
                overflows += int(np.count_nonzero(marks))
                yield Reading((t[~marks], x[~marks], y[~marks], p[~marks]), file.tell() / self.size)
        if overflows:
            self.details["clock_overflows"] = overflows
        if clock.wraps:
            self.details["clock_wraps"] = clock.wraps
