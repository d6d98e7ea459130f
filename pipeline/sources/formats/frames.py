"""Recordings of streams (PCHY): the events in their frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kernels.coding import decode
from kernels.coding.decode import Decoder, no_triggers
from kernels.coding.events import unpack_aer64
from pipeline import frame_file, packets, wire
from pipeline.sources.base import Reading
from pipeline.sources.formats.reader import BaseReader, Faults, InputOptions, sensor_of
from pipeline.wire import Frame

_WORD_BYTES = {wire.EVT2: 4, wire.EVT3: 2}


class FrameFile(BaseReader):
    """What a service kept of a stream with ``record``; frames that were shed are among them."""

    def __init__(self, path: Path, faults: Faults, options: InputOptions) -> None:
        super().__init__(path, faults, options)
        about = frame_file.about(path)
        stated = about.get("sensor") or {}
        self.sensor = sensor_of(int(stated.get("width", 0)), int(stated.get("height", 0)))
        self.epoch_ns = int(about.get("epoch_ns", 0))
        self._decoder: Decoder | None = None

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        done, self._decoder = 0, None
        for frame in frame_file.frames(self.path):
            done += wire.HEADER_BYTES + len(frame.payload)
            if frame.type in {wire.EVENTS, wire.EDGES}:
                yield self._reading(frame, done / self.size)

    def _reading(self, frame: Frame, done: float) -> Reading:
        if frame.type == wire.EDGES:
            rows = np.frombuffer(frame.payload, [("t", "<u4"), ("channel", "<u2"), ("level", "<u2")])
            edges = np.empty((len(rows), 3), np.int64)
            edges[:, 0] = frame.t_us + rows["t"].astype(np.int64)
            edges[:, 1], edges[:, 2] = rows["channel"], rows["level"]
            return Reading(packets.no_events(), done, edges)
        if frame.code == wire.AER64:
            events = unpack_aer64(
                np.frombuffer(frame.payload, "<u8").astype(np.uint64, copy=False), frame.t_us
            )
            return Reading(events, done, no_triggers())
        if self._decoder is None:
            self._decoder = Decoder(_WORD_BYTES.get(frame.code, 2))
        events = decode.decode(self._decoder, frame.payload, frame.t_us)
        return Reading(events, done, self._decoder.triggers)
