"""Pictures that somebody pushes, such as a browser those of its webcam, seen by the pixel model."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

import cv2
import numpy as np

from pipeline import packets
from pipeline.sensor import Sensor
from pipeline.sources.frames import fitted, grey
from pipeline.sources.live.base import NOTHING, Arrival, BaseLive
from pipeline.sources.video import Eye, VideoOptions

HEAD = struct.Struct("<IQ")
"""Before each picture: how many bytes it has, and its time, us."""
MOST_BYTES = 2**22
_WAIT_S, _KEPT = 0.1, 4
_LARGEST_STEP_US = 86_400_000_000
_KINDS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")
"""How a JPEG, a PNG and a WebP begin: OpenCV would try all that it knows."""


class Pushed(BaseLive):
    """JPEG, PNG or WebP pictures from a pipe, each with the time at which it was taken.

    They wait in a short queue; where the pixel model is too slow for them the oldest are dropped and counted. So are
    pictures that cannot be decoded, and those whose time does not rise.

    Args:
        pipe: where they come from, each behind a :data:`HEAD`.
        sensor: the grid that they are fitted to.
        options: how they are seen.
    """

    loss_note = "pictures that were never pushed"

    def __init__(self, pipe: IO[bytes], sensor: Sensor, options: VideoOptions) -> None:
        super().__init__("pictures that are pushed")
        self.sensor: Sensor | None = sensor
        self._grid, self._pipe = sensor, pipe
        self._eye = Eye(options, sensor.width, sensor.height)
        self._pictures: list[tuple[bytes, int]] = []
        self._change = threading.Condition()
        self._over = False
        self._last_us = -1

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """Spans in which motion could not be bridged."""
        return self._eye.bridging.unreliable

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        threading.Thread(target=self._listen, name="pushed", daemon=True).start()
        gap = False
        while True:
            with self._change:
                if not self._pictures and not self._over:
                    self._change.wait(_WAIT_S)
                taken = self._pictures.pop(0) if self._pictures else None
                if taken is None and self._over:
                    return
            if taken is None:
                yield NOTHING
                continue
            picture = self._decoded(*taken)
            if picture is None:
                continue
            for events in self._eye.feed(picture, taken[1] * 1e-6):
                yield Arrival(events, gap=gap)
                gap = False
            yield Arrival(packets.no_events(), heartbeat_us=taken[1])

    def _decoded(self, data: bytes, t_us: int) -> Any:
        """A picture on the sensor's grid, or None where it cannot be used."""
        if t_us <= self._last_us or (self._last_us >= 0 and t_us - self._last_us > _LARGEST_STEP_US):
            self._lost("pictures_out_of_order")
            return None
        if not data.startswith(_KINDS):
            self._lost("pictures_not_decoded")
            return None
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        except cv2.error:
            picture = None
        if picture is None:
            self._lost("pictures_not_decoded")
            return None
        self._last_us = t_us
        if picture.shape[:2] != (self._grid.height, self._grid.width):
            return np.ascontiguousarray(fitted(grey(picture), self._grid, "letterbox"))
        return picture

    def _listen(self) -> None:
        """In its own thread: the newest pictures, until the pipe ends."""
        while len(head := self._pipe.read(HEAD.size)) == HEAD.size:
            size, t_us = HEAD.unpack(head)
            data = self._pipe.read(size)
            if len(data) < size:
                break
            with self._change:
                self._pictures.append((data, t_us))
                if len(self._pictures) > _KEPT:
                    self._pictures.pop(0)
                    self._lost("dropped_pictures")
                self._change.notify()
        with self._change:
            self._over = True
            self._change.notify()
