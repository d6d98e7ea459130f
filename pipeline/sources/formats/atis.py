"""The 40-bit ATIS format of N-MNIST and N-Caltech101."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels.decode import decode_aer40
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import CHUNK_EVENTS, BaseReader

_WRAP_US = 2**23


class Bin(BaseReader):
    """u8 x, u8 y, 1 bit p, 23 bits us, big-endian; it names no sensor."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        last, turns = None, 0
        with self.path.open("rb") as file:
            while block := file.read(5 * CHUNK_EVENTS):
                rest = len(block) % 5
                self.faults.found("truncated_bytes", rest, f"no whole 40-bit events: {rest} bytes at its end")
                t, x, y, p = decode_aer40(block[: len(block) - rest])
                if len(t):
                    if last is not None and last - int(t[0]) > _WRAP_US // 2:
                        turns += 1
                    last = int(t[-1]) % _WRAP_US
                    t = t + turns * _WRAP_US
                    turns = int(t[-1]) // _WRAP_US
                yield Reading(
                    (t, np.ascontiguousarray(x), np.ascontiguousarray(y), p), file.tell() / self.size
                )
        if turns:
            self.details["clock_wraps"] = turns
