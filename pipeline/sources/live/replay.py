"""A recording or a video as if it were happening."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline import packets
from pipeline.sources.base import Source
from pipeline.sources.live.base import NOTHING, Arrival, BaseLive

_SLICE_US = 5_000
_NAP_S = 0.1


class Replay(BaseLive):
    """Sends each event when its time has come, ``speed`` times faster than it happened.

    Args:
        source: what to replay.
        speed: times real time; 0 for as fast as it is read.
    """

    loss_note = "nothing: it waits for whoever reads"

    def __init__(self, source: Source, speed: float = 1.0) -> None:
        super().__init__(source.info.format)
        self._source, self._speed = source, speed
        self.sensor = source.info.sensor
        self.done = 0.0

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """Those of what is replayed."""
        return self._source.unreliable_spans

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        started_s, first_us = time.monotonic(), None
        for reading in self._source.batches():
            t = reading.events[0]
            self.done = reading.done
            if len(t) and first_us is None:
                first_us = int(t[0])
            triggers = reading.triggers
            for start, stop in self._slices(t):
                part = packets.cut(reading.events, start, stop)
                if self._speed > 0 and len(part[0]):
                    due_s = started_s + (int(part[0][-1]) - (first_us or 0)) * 1e-6 / self._speed
                    while (wait_s := due_s - time.monotonic()) > 0:
                        time.sleep(min(wait_s, _NAP_S))
                        if wait_s > _NAP_S:
                            yield NOTHING
                yield Arrival(part, triggers)
                triggers = triggers[:0]
        self.epoch_ns = self._source.info.epoch_ns
        self.losses = dict(self._source.info.repaired)
        self.warnings = list(self._source.info.warnings)

    def _slices(self, t: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[tuple[int, int]]:
        """Parts of a few ms, where time matters."""
        if self._speed == 0 or len(t) == 0:
            yield 0, len(t)
            return
        start = 0
        while start < len(t):
            stop = int(np.searchsorted(t, t[start] + _SLICE_US, side="left"))
            yield start, max(stop, start + 1)
            start = max(stop, start + 1)
