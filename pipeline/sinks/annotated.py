"""A video of what went in and what was found: events that fade, arrows of the motion field, the last decision.

WebM with VP8, which OpenCV's wheel can write and browsers can play.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.columns import XY, P, T
from pipeline import packets
from pipeline.packets import APERTURE, UNRELIABLE, WARM_UP, Columns, Events
from pipeline.sensor import Sensor
from pipeline.sinks.arrows import ArrowScale, draw_legend
from pipeline.sinks.style import direction_colour

FRAMES_A_SECOND, MOST_FRAMES = 25, 1500
"""Of what is shown; what would take more is cut off."""
_WISHED_FRAMES, _SHORTEST_US, _LONGEST_US = 240, 1_000, 40_000
_ON, _OFF, _GROUND = (71, 179, 255), (255, 179, 79), (11, 8, 7)
_SURE, _LASTS_US, _LEAST_WIDTH, _LARGEST_SIDE = 0.05, 60_000, 640, 1920
_MOST_PIXELS = 2**21


def fits(sensor: Sensor) -> bool:
    """Whether a video of such a sensor can be drawn in bounded memory."""
    return max(sensor.width, sensor.height) <= _LARGEST_SIDE and sensor.width * sensor.height <= _MOST_PIXELS


class Annotated:
    """Writes the video while the events pass.

    A picture stands for 1 to 40 ms of stream time, so that short recordings are seen slowed down and long ones as
    they were.

    Args:
        path: the file, ``.webm``.
        sensor: the pixel grid.
        tile: side of the field's tiles, pixels.
        labels: names of the classes that are decided on.
    """

    def __init__(self, path: Path, sensor: Sensor, tile: int, labels: list[str]) -> None:
        self._sensor, self._tile, self._labels = sensor, tile, labels
        largest = _LARGEST_SIDE // max(sensor.width, sensor.height)
        self._scale = max(1, min(round(_LEAST_WIDTH / sensor.width), largest))
        size = tuple(max(2, side * self._scale // 2 * 2) for side in (sensor.width, sensor.height))
        self._size = size[0], size[1]
        self._video = _writer(path, self._size)
        self._last = np.full((sensor.height, sensor.width), -np.inf, np.float64)
        self._positive = np.zeros((sensor.height, sensor.width), np.bool_)
        self._events: deque[Events] = deque()
        self._fields: deque[tuple[int, Columns]] = deque()
        self._decisions: deque[tuple[int, str]] = deque()
        self._field: tuple[int, Columns] | None = None
        self._arrow = ArrowScale()
        self._decision = ""
        self._every_us = self._first_us = self._newest_us = 0
        self._seen: tuple[int, float] | None = None
        """(time of the last event, fraction of the source) of the first step."""
        self._next_us: int | None = None
        self.frames = 0

    def events(self, events: Events, done: float) -> None:
        """What went in, and the fraction of the source that is done with it."""
        t = events[0]
        if len(t) == 0 or self._full:
            return
        self._events.append(events)
        self._newest_us = int(t[-1])
        if self._next_us is not None:
            return
        if self._seen is None:
            self._first_us, self._seen = int(t[0]), (int(t[-1]), done)
            if done >= 1:
                self._begin(int(t[-1] - t[0]))
        elif (
            done > self._seen[1]
        ):  # from the second step on its pace is known, whatever quiet came before the first
            pace = (int(t[-1]) - self._seen[0]) / (done - self._seen[1])
            self._begin(self._seen[0] - self._first_us + pace * (1 - self._seen[1]))

    def _begin(self, length_us: float) -> None:
        self._every_us = int(np.clip(length_us / _WISHED_FRAMES, _SHORTEST_US, _LONGEST_US))
        self._next_us = self._first_us + self._every_us

    @property
    def _full(self) -> bool:
        return self.frames >= MOST_FRAMES

    def field(self, columns: Columns) -> None:
        """Rows of the motion field."""
        if self._full:
            return
        t = columns["t"]
        edges = [0, *(np.flatnonzero(np.diff(t)) + 1).tolist(), len(t)]
        for start, stop in pairwise(edges):
            if stop > start:
                self._fields.append(
                    (int(t[start]), {name: column[start:stop] for name, column in columns.items()})
                )

    def decisions(self, columns: Columns) -> None:
        """Rows of decisions."""
        if self._full:
            return
        for t, label, sure in zip(columns["t"], columns["label"], columns["confidence"], strict=True):
            self._decisions.append((int(t), f"{self._labels[int(label)]} {sure:.0%}"))

    def until(self, t_us: int) -> None:
        """Nothing that came before this time is still to come: draw up to it."""
        while self._next_us is not None and self._next_us <= t_us and not self._full:
            self._draw(self._next_us)
            self._next_us += self._every_us
        if self._full:
            for kept in (self._events, self._fields, self._decisions):
                kept.clear()

    def finish(self) -> None:
        """Nothing more comes: draw what is left, and one picture at least."""
        if self._next_us is None and self._seen is not None:
            self._begin(self._newest_us - self._first_us)
        self.until(self._newest_us)
        if self._events and not self._full:
            self._draw(self._newest_us)

    def close(self) -> None:
        """Finish the file."""
        self._video.release()

    def _draw(self, now_us: int) -> None:
        for t, x, y, p in self._passed(now_us):
            self._last[y, x], self._positive[y, x] = t, p
        while self._fields and self._fields[0][0] <= now_us:
            self._field = self._fields.popleft()
        while self._decisions and self._decisions[0][0] <= now_us:
            self._decision = self._decisions.popleft()[1]
        tau_us = max(30_000.0, 2.0 * self._every_us)
        shine = np.exp((self._last - now_us) / tau_us)[..., None]
        colour = np.where(self._positive[..., None], _ON, _OFF)
        small = (np.asarray(_GROUND) * (1 - shine) + colour * shine).astype(np.uint8)
        picture: Any = cv2.resize(small, self._size, interpolation=cv2.INTER_NEAREST)
        if self._field is not None and now_us - self._field[0] <= _LASTS_US:
            self._arrows(picture, self._field[1])
            draw_legend(picture, self._arrow, self._tile * self._scale)
        text = f"{(now_us - self._first_us) * 1e-6:.3f} s {self._decision}"
        cv2.putText(picture, text, (8, self._size[1] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1)
        self._video.write(picture)
        self.frames += 1

    def _passed(self, now_us: int) -> Iterator[tuple[T, XY, XY, P]]:
        """Events up to now, which are not needed any more."""
        while self._events:
            events = self._events.popleft()
            n = int(np.searchsorted(events[0], now_us, side="right"))
            if n:
                yield packets.cut(events, 0, n)
            if n < len(events[0]):
                self._events.appendleft(packets.cut(events, n, len(events[0])))
                return

    def _arrows(self, picture: NDArray[np.uint8], field: Columns) -> None:
        scale, tile = self._scale, self._tile
        self._arrow.follow(field)
        speed = np.hypot(field["vx"], field["vy"]).astype(np.float64)
        sure = (field["confidence"] >= _SURE) & (speed > 0)
        direction = np.arctan2(field["vy"][sure], field["vx"][sure])
        length = tile * self._arrow.tiles(speed[sure])
        doubted = np.where(field["flags"][sure] & (WARM_UP | UNRELIABLE) > 0, 0.5, 1.0)
        faded = (0.2 + 0.8 * field["confidence"][sure]) * doubted  # what is less sure is darker
        colours = direction_colour(direction.astype(np.float64)) * 255 * faded[:, None]
        middle = np.stack([field["x"][sure], field["y"][sure]], 1).astype(np.float64) + tile / 2
        reach = np.stack([np.cos(direction), np.sin(direction)], 1) * length[:, None] / 2
        narrow = field["flags"][sure] & APERTURE > 0
        for a, b, (r, g, blue), open_ in zip(
            (middle - reach) * scale, (middle + reach) * scale, colours, narrow, strict=True
        ):
            ends = [(round(float(end[0])), round(float(end[1]))) for end in (a, b)]
            # What is known across an edge alone is drawn thin.
            width = 1 if open_ else max(2, scale)
            cv2.arrowedLine(picture, ends[0], ends[1], (blue, g, r), width, cv2.LINE_AA, tipLength=0.35)


def _writer(path: Path, size: tuple[int, int]) -> Any:
    """OpenCV says on stderr that WebM's tags are not AVI's; nobody needs to read that."""
    with _silenced():
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), FRAMES_A_SECOND, size)
    if not video.isOpened():
        raise OSError(f"{path.name}: OpenCV cannot write VP8 here")
    return video


@contextlib.contextmanager
def _silenced() -> Any:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
