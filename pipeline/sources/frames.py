"""Camera frames on their way to a DVS sensor: grey, and fitted to its pixel grid."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sensor import Sensor

SENSORS: dict[str, Sensor] = {
    "dvs128": Sensor(width=128, height=128),
    "davis240": Sensor(width=240, height=180),
    "davis346": Sensor(width=346, height=260),
    "dvxplorer": Sensor(width=640, height=480),
    "evk4": Sensor(width=1280, height=720),
}
"""Event cameras whose pixel grid a video can be fitted to."""

Fit = Literal["letterbox", "crop"]
"""How: all of the frame with a still black border, or a full sensor with the frame's edges cut off."""


def grey(frame: NDArray[Any]) -> NDArray[Any]:
    """One channel [height, width] of a grey, BGR or BGRA frame, in its own type.

    Weights are those of ITU-R BT.601, Y = 0.299 R + 0.587 G + 0.114 B.
    """
    if frame.ndim == 2:
        return frame
    if frame.shape[2] == 1:
        return np.ascontiguousarray(frame[:, :, 0])
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2GRAY if frame.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def fitted(frame: NDArray[Any], sensor: Sensor, fit: Fit) -> NDArray[Any]:
    """A grey frame [height, width] scaled to ``sensor``; its proportions stay."""
    height, width = frame.shape
    if (width, height) == (sensor.width, sensor.height):
        return frame
    ratios = sensor.width / width, sensor.height / height
    scale = min(ratios) if fit == "letterbox" else max(ratios)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Shrinking by areas keeps the light that falls onto a pixel; sampling would alias.
    scaled = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    seen = np.zeros((sensor.height, sensor.width), frame.dtype)
    (to_x, from_x, n_x), (to_y, from_y, n_y) = (
        _centred(size[0], sensor.width),
        _centred(size[1], sensor.height),
    )
    seen[to_y : to_y + n_y, to_x : to_x + n_x] = scaled[from_y : from_y + n_y, from_x : from_x + n_x]
    return seen


def _centred(length: int, room: int) -> tuple[int, int, int]:
    """(where it starts in the room, where it is cut, how much is seen) of a length put into the middle."""
    return max(0, (room - length) // 2), max(0, (length - room) // 2), min(length, room)
