"""ES (Event Stream) files, through faery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import BaseReader, Faults, InputOptions, sensor_of
from pipeline.sources.formats.through_faery import columns_of


class EventStream(BaseReader):
    """ES of version 2 with DVS events."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        from faery.extension import es  # noqa: PLC0415 - half a second that only such files need

        with es.Decoder(path, 0) as decoder:
            kind, size = decoder.event_type, decoder.dimensions
        if kind != "dvs":
            raise faults.error(f"holds {kind} events; allowed are dvs")
        if not size:
            raise faults.error("states no size")
        self.sensor, self._height = sensor_of(*size), size[1]

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`. ES counts rows from below; ours grow down."""
        from faery.extension import es  # noqa: PLC0415 - see above

        with es.Decoder(self.path, 0) as decoder:
            for packet in decoder:
                t, x, y, p = columns_of(packet)
                yield Reading((t, x, np.uint16(self._height - 1) - y, p), 0.0)
