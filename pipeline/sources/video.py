"""Video files and images: OpenCV frames seen by the DVS pixel model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import Policy, Reading, SourceError, SourceInfo
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.sources.frame_files import FrameFile, open_frames
from pipeline.sources.frames import SENSORS, Fit, fitted, grey
from pipeline.sources.interpolation import Bridging, Interpolator, Mode
from pipeline.sources.v2e import InstalledV2e


@dataclass(frozen=True)
class VideoOptions:
    """How a video is seen.

    Attributes:
        emulator: the pixel's parameters.
        frame_rate: frames per second of scene time, where the times in the container are not the scene's.
        interpolation: frames between frames: ``auto``, ``off`` or N.
        camera: fit frames to the grid of this sensor, a name of :data:`SENSORS`; None leaves their size.
        fit: how.
        model: whose pixel model: Polychrony's own, or that of an installed v2e.
    """

    emulator: EmulatorConfig = field(default_factory=EmulatorConfig)
    frame_rate: float | None = None
    interpolation: Mode = "auto"
    camera: str | None = None
    fit: Fit = "letterbox"
    model: str = "polychrony"


class Pixels(Protocol):
    """A pixel model: frames in, events out."""

    def feed(self, frame: NDArray[Any], t_s: float) -> Events:
        """Events since the last frame."""
        ...


class Eye:
    """What turns camera frames into events: grey, fitted, interpolated, and seen by the pixel model.

    Args:
        options: how.
        width: of the frames that come.
        height: likewise.

    Raises:
        SourceError: an option cannot be met.
    """

    def __init__(self, options: VideoOptions, width: int, height: int) -> None:
        if options.camera is not None and options.camera not in SENSORS:
            raise SourceError(f"no camera {options.camera!r}; allowed are {', '.join(SENSORS)}")
        self.sensor = SENSORS[options.camera] if options.camera else Sensor(width=width, height=height)
        self._fit: Fit = options.fit
        self._between = Interpolator(options.interpolation)
        model = InstalledV2e if options.model == "v2e" else Emulator
        self._pixels: Pixels = model(options.emulator, self.sensor.width, self.sensor.height)

    @property
    def bridging(self) -> Bridging:
        """What became of the times between frames."""
        return self._between.bridging

    def feed(self, frame: NDArray[Any], t_s: float) -> list[Events]:
        """Events since the last frame; time must rise."""
        seen = fitted(grey(frame), self.sensor, self._fit)
        return [self._pixels.feed(each, t) for each, t in self._between.feed(seen, t_s)]


class Video:
    """A video as events; see :class:`pipeline.sources.base.Source`.

    Args:
        path: the file.
        options: how it is seen.
        policy: what becomes of frame times that do not rise, and of frames that are missing at the end.

    Raises:
        SourceError: OpenCV cannot read it, it has no frames, or an option cannot be met.
    """

    def __init__(self, path: Path, options: VideoOptions, policy: Policy = "repair") -> None:
        self.name = path.name
        self._path, self._options, self._policy = path, options, policy
        self._origin_us: int | None = None
        frames, first = self._open()
        rate = options.frame_rate or frames.rate
        self._frames, self._indexed = frames.stated, frames.indexed
        self._has_times = frames.time_s() is not None
        frames.close()
        if options.frame_rate is None and not self._has_times:
            raise SourceError(f"{path.name}: images hold no times: give --frame-rate")
        if not 0 < rate <= 1e6:
            raise SourceError(f"{path.name}: states no frame rate: give --frame-rate")
        self._rate = rate
        self._frame_size, self._begun = first.shape[1::-1], False
        self._eye = Eye(options, *self._frame_size)
        self.info = SourceInfo(
            format="video" if self._has_times else "images", sensor=self._eye.sensor,
            sensor_from="given" if options.camera else "file",
            details={
                "frames": self._frames, "frames_per_second": round(rate, 6),
                "frame_width": first.shape[1], "frame_height": first.shape[0],
                "bits": 8 * first.dtype.itemsize,
            },
        )  # fmt: skip
        skipped = getattr(frames, "links", 0)
        self.info.count("links_not_followed", skipped)

    @property
    def origin_us(self) -> int | None:
        """See :class:`pipeline.sources.base.Source`."""
        return self._origin_us

    @property
    def unreliable_spans(self) -> list[tuple[int, int]]:
        """See :class:`pipeline.sources.base.Source`."""
        return self._eye.bridging.unreliable

    def batches(self) -> Iterator[Reading]:
        """See :class:`pipeline.sources.base.Source`; one batch a frame, in memory for one frame."""
        if self._begun:  # from the start again, with pixels that have seen nothing
            self._eye = Eye(self._options, *self._frame_size)
            self.info.repaired.clear()
            self.info.t_first_us = self.info.t_last_us = self._origin_us = None
        self._begun = True
        frames, frame = self._open()
        i, last, longest = 0, -1.0, 0.0
        try:
            while frame is not None:
                time = self._time_of(frames, i, last)
                if time is not None:
                    self._origin_us = round(time * 1e6) if self._origin_us is None else self._origin_us
                    longest = max(longest, time - last if last >= 0 else 0.0)
                    last = time
                    for events in self._seen(frame, time, i):
                        self._count(events)
                        yield Reading(events, min(1.0, (i + 1) / max(self._frames, i + 1, 1)))
                i += 1
                frame = frames.read()
            if i == 1:
                raise SourceError(f"{self.name}: holds one frame, and one frame makes no events")
            self._check_whole(i, self._frames - frames.before, last + longest)
        finally:
            frames.close()
            self._account(i)

    def _seen(self, frame: Any, time: float, i: int) -> list[Events]:
        """What the pixels make of a frame; OpenCV cannot scale or follow frames of every shape."""
        try:
            return self._eye.feed(frame, time)
        except cv2.error as problem:
            height, width = frame.shape[:2]
            raise SourceError(
                f"{self.name}: frame {i} of {width}x{height} px cannot be taken in: {str(problem).splitlines()[0]}"
            ) from problem

    def _count(self, events: Events) -> None:
        t, info = events[0], self.info
        if len(t):
            info.t_first_us = int(t[0]) if info.t_first_us is None else info.t_first_us
            info.t_last_us = int(t[-1])

    def _time_of(self, frames: FrameFile, i: int, last: float) -> float | None:
        """When frame i was taken, s; None where it is to be left out."""
        if self._options.frame_rate is not None:
            return i / self._rate
        stated = frames.time_s()
        if stated is None:
            return i / self._rate
        if np.isfinite(stated) and last < stated < 1e9:
            return stated
        if self._policy == "error":
            raise SourceError(
                f"{self._path.name}: frame {i} is stamped {stated} s, not after {max(last, 0)} s"
            )
        if self._policy == "drop":
            self.info.count("dropped_frames_without_time")
            return None
        if i > 1 or last >= 0:
            self.info.count("repaired_frame_times")
        return 0.0 if last < 0 else last + 1 / self._rate

    def _account(self, read: int) -> None:
        """Say what was found out on the way, however far it went."""
        details, bridging = self.info.details, self._eye.bridging
        details["frames_read"] = read
        if self._options.interpolation != "off":
            details["frames_inserted"] = bridging.inserted
        for name, n in (("cuts_not_bridged", bridging.cuts), ("motion_not_followed", bridging.not_followed)):
            if n:
                details[name] = n

    def _check_whole(self, read: int, stated: int, end_s: float) -> None:
        """Whether frames are missing at the end.

        A container with an index counts them; the others' number is an estimate, duration times rate, which says
        nothing where frames come at varying rates: there the duration is compared.
        """
        missing, stated_s = stated - read, stated / self._rate
        enough = 1 if self._indexed else max(3, stated // 100 + 1)
        if not self._indexed and end_s >= stated_s * 0.99 - 2 / self._rate:
            return
        if missing >= enough:
            if self._policy == "error":
                raise SourceError(
                    f"{self._path.name}: broken off: of {stated} frames that it states {read} can be read"
                )
            self.info.count("missing_frames", missing)

    def _open(self) -> tuple[FrameFile, Any]:
        frames = open_frames(self._path)
        try:
            first = frames.read()
            if first is None:
                raise SourceError(f"{self._path.name}: a video without frames")
        except BaseException:
            frames.close()
            raise
        return frames, first
