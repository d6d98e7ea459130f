"""Video files: OpenCV frames seen by the DVS pixel model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Said before cv2 is loaded: its decoders' own words go to stderr, ours go to the user.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from pipeline.packets import UNRELIABLE, Events
from pipeline.sources.base import SourceError, SourceInfo
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.spec import Sensor

SLOW_FRAME_US = 10_000
"""Frames further apart cross-fade instead of moving: motion seen in them is marked unreliable."""


class Video:
    """A video as events; see :class:`pipeline.sources.base.Source`.

    Args:
        path: the file.
        emulator: the pixel's parameters.
        frame_rate: frames per second of scene time, where the file's own rate is not the scene's.

    Raises:
        SourceError: OpenCV cannot read it, or it has no frames.
    """

    def __init__(self, path: Path, emulator: EmulatorConfig, frame_rate: float | None = None) -> None:
        self._path, self._config = path, emulator
        capture, first = self._open()
        capture_rate = float(capture.get(cv2.CAP_PROP_FPS))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        rate = frame_rate or capture_rate
        if not 0 < rate <= 1e6:
            raise SourceError(f"{path.name}: states no frame rate: give one")
        self._rate = rate
        self._frames = max(frames, 1)
        self.flags = UNRELIABLE if 1e6 / rate > SLOW_FRAME_US else 0
        self.info = SourceInfo(
            format="video", sensor=Sensor(width=first.shape[1], height=first.shape[0]), sensor_from="file",
            details={"frames": frames, "frames_per_second": round(rate, 6)},
        )  # fmt: skip

    def batches(self) -> Iterator[tuple[Events, float]]:
        """See :class:`pipeline.sources.base.Source`; one batch a frame, frame i at i / rate seconds."""
        capture, frame = self._open()
        emulator = Emulator(self._config, frame.shape[1], frame.shape[0])
        i = 0
        try:
            while True:
                yield emulator.feed(_grey(frame), i / self._rate), min(1.0, (i + 1) / self._frames)
                i += 1
                more, frame = capture.read()
                if not more:
                    return
        finally:
            capture.release()

    def _open(self) -> tuple[Any, Any]:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"{self._path.name}: not a video that OpenCV can read, or one without frames")
        more, frame = capture.read()
        if not more:
            capture.release()
            raise SourceError(f"{self._path.name}: a video without frames")
        return capture, frame


def _grey(frame: Any) -> Any:
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else np.asarray(frame)
