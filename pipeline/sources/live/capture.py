"""Webcams, RTSP and HTTP video through OpenCV, seen by the pixel model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from pipeline import packets
from pipeline.sensor import Sensor
from pipeline.sources.base import SourceError
from pipeline.sources.frames import fitted, grey
from pipeline.sources.live.base import Arrival, BaseLive, IngressClock
from pipeline.sources.video import Eye, VideoOptions

_TIMEOUT_MS = 5_000
_RETRY_S = 0.5
_WAIT_S = 0.1
_KEPT = 4


class Capture(BaseLive):
    """Frames as they come, stamped with this machine's clock; connects again when they stop, behind a gap.

    Frames wait in a short queue; where the pixel model is too slow for them the oldest are dropped and counted.

    Args:
        where: an address, or the number of a webcam.
        options: how frames are seen.
        give_up_s: end when nothing has come for so long; 0 for never.

    Raises:
        SourceError: nothing can be opened there, or an option cannot be met.
    """

    loss_note = "frames that camera or network drop: they carry no numbers"

    def __init__(self, where: str | int, options: VideoOptions, give_up_s: float) -> None:
        name = f"webcam {where}" if isinstance(where, int) else "video over the network"
        super().__init__(name, give_up_s)
        self._where, self._options = where, options
        capture = self._open()
        more, first = capture.read() if capture is not None else (False, None)
        if capture is None or not more or first is None:
            raise SourceError(f"{where}: OpenCV can open no video there")
        self._eye = Eye(options, first.shape[1], first.shape[0])
        self.sensor: Sensor | None = self._eye.sensor
        self._size = first.shape[:2]
        self._frames: list[tuple[Any, int, bool]] = []
        self._change = threading.Condition()
        self._over = False
        self._clock = IngressClock()
        self.epoch_ns = self._clock.epoch_ns
        self._thread = threading.Thread(target=self._watch, args=(capture,), name="capture", daemon=True)

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """Spans in which motion could not be bridged."""
        return self._eye.bridging.unreliable

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        self._heard()
        self._thread.start()
        try:
            while True:
                taken = self._next()
                if taken is None:
                    if self._over or self._silent_too_long():
                        return
                    yield Arrival(packets.no_events())
                    continue
                frame, t_us, gap = taken
                for events in self._eye.feed(self._as_first(frame), t_us * 1e-6):
                    yield Arrival(events, gap=gap)
                    gap = False
                yield Arrival(packets.no_events(), heartbeat_us=t_us)
        finally:
            self.close()

    def close(self) -> None:
        """Stop watching."""
        self._over = True
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_MS / 1000 + 1)

    def _open(self) -> Any:
        if isinstance(self._where, int):
            capture = cv2.VideoCapture(self._where)
        else:
            limits = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                _TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                _TIMEOUT_MS,
            ]
            capture = cv2.VideoCapture(self._where, cv2.CAP_FFMPEG, limits)
        return capture if capture.isOpened() else None

    def _watch(self, capture: Any) -> None:
        """In its own thread: the newest frames, with the time at which each came."""
        gap = False
        last = -1
        while not self._over:
            more, frame = capture.read() if capture is not None else (False, None)
            if more:
                last = max(self._clock.now_us(), last + 1)
                self._put((frame, last, gap))
                gap = False
                continue
            if capture is not None:
                capture.release()
            if self._silent_too_long():
                return
            time.sleep(_RETRY_S)
            capture = self._open()
            if capture is not None:
                self._lost("reconnects")
                gap = True

    def _put(self, taken: tuple[Any, int, bool]) -> None:
        self._heard()
        with self._change:
            self._frames.append(taken)
            if len(self._frames) > _KEPT:
                gap = self._frames.pop(0)[2]
                self._lost("dropped_frames")
                frame, t_us, own = self._frames[0]
                self._frames[0] = frame, t_us, own or gap
            self._change.notify()

    def _next(self) -> tuple[Any, int, bool] | None:
        with self._change:
            if not self._frames:
                self._change.wait(_WAIT_S)
            return self._frames.pop(0) if self._frames else None

    def _as_first(self, frame: Any) -> Any:
        """A frame of another size than the first, as after a reconnect, is fitted to it."""
        if frame.shape[:2] == self._size:
            return frame
        self._lost("resized_frames")
        return np.ascontiguousarray(
            fitted(grey(frame), Sensor(width=self._size[1], height=self._size[0]), "letterbox")
        )
