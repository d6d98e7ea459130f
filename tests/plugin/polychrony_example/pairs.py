"""Format ``pairs``: a line of text ``pairs WIDTH HEIGHT``, then u32 t in us, u16 x, u16 y; all events are ON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.sources.base import Reading
from pipeline.sources.formats import Format
from pipeline.sources.formats.reader import CHUNK_EVENTS, BaseReader, Faults, sensor_of
from pipeline.sources.options import InputOptions

MAGIC = b"pairs "
ROW = np.dtype([("t", "<u4"), ("x", "<u2"), ("y", "<u2")])


class Pairs(BaseReader):
    """See above."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        with path.open("rb") as file:
            head = file.readline(64)
        self._start = len(head)
        self.sensor = sensor_of(*map(int, head.split()[1:]))

    def parts(self) -> Iterator[Reading]:
        """See :class:`pipeline.sources.formats.reader.Reader`."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            while block := file.read(ROW.itemsize * CHUNK_EVENTS):
                rest = len(block) % ROW.itemsize
                self.faults.found("truncated_bytes", rest, f"{rest} bytes at its end are no event")
                rows = np.frombuffer(block[: len(block) - rest], ROW)
                events = (
                    rows["t"].astype(np.int64),
                    rows["x"].copy(),
                    rows["y"].copy(),
                    np.ones(len(rows), np.bool_),
                )
                yield Reading(events, file.tell() / self.size)


FORMAT = Format("pairs", Pairs, lambda head, path: head.startswith(MAGIC))
