"""The 40-bit ATIS format of N-MNIST and N-Caltech101."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels.decode import Clock, decode_aer40
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_EVENTS, BaseReader


class Bin(BaseReader):
    """u8 x, u8 y, 1 bit p, 23 bits us, big-endian; it names no sensor."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        clock = Clock(23)
        with self.path.open("rb") as file:
            while block := file.read(5 * CHUNK_EVENTS):
                rest = len(block) % 5
                self.faults.found("truncated_bytes", rest, f"no whole 40-bit events: {rest} bytes at its end")
                t, x, y, p = decode_aer40(block[: len(block) - rest], clock)
                yield Reading(
                    (t, np.ascontiguousarray(x), np.ascontiguousarray(y), p), file.tell() / self.size
                )
        if clock.wraps:
            self.details["clock_wraps"] = clock.wraps
