"""``looming``: an alarm when what the camera sees grows so fast that it will soon be there."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.filters import NEVER
from pipeline.models.bundle import MotifLabel
from pipeline.packets import Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, Context, Port, Stage, StageConfig

_LABEL = MotifLabel(name="looming")


class Looming(StageConfig):
    """A detection for each window whose time to contact is short, from the movement of the whole view.

    What nears at a constant speed grows by zoom = 1 / (time to contact) (Lee, Perception 1976); as the movement is
    that of ``age_us`` ago, the time that is left is 1 / zoom - age_us. A row's score is the zoom, 1/s; (x, y) is the
    point from which the view spreads, where it lies on the sensor, else the nearest pixel. An alarm needs ``windows``
    windows, one behind the other, that all agree, and what is seen grows in them at least by ``growth`` of how fast
    it moves otherwise (:func:`kernels.motion.global_motion.growth`): what comes to the camera grows where it is;
    what passes by does not.
    """

    accepts: ClassVar[Kind] = "motion"
    sends: ClassVar[dict[str, Kind]] = {"": "detections"}

    kind: Literal["looming"] = "looming"
    contact_within_us: int = Field(default=1_000_000, ge=1000, description="longest time to contact, us")
    age_us: int = Field(
        default=46_000,
        ge=0,
        le=10_000_000,
        description="how old the movement is; optical_flow remembers so long",
    )
    min_confidence: float = Field(default=0.3, ge=0, le=1, description="of the movement")
    growth: float = Field(
        default=0.5, ge=0, le=1000,
        description="least growth beside pan and rotation; near 0, the zoom that errors make of a pan alarms, too",
    )  # fmt: skip
    windows: int = Field(default=2, ge=1, le=1000, description="windows in a row that must agree")

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _LoomingStage(self, context)


class _LoomingStage(Stage):
    def __init__(self, config: Looming, context: Context) -> None:
        self._width, self._height = context.upstream.width, context.upstream.height
        port = Port("detections", self._width, self._height, (_LABEL,), window_us=context.upstream.window_us)
        super().__init__(main=port)
        self._config, self._window_us = config, context.upstream.window_us
        self._agreed, self._last_us = 0, NEVER

    def work(self, packet: Packet) -> list[Packet]:
        c, config = packet.columns, self._config
        near = (
            (c["zoom"] >= 1e6 / (config.contact_within_us + config.age_us))
            & (c["confidence"] >= config.min_confidence)
            & (c["growth"] >= config.growth)
        )
        kept = np.zeros(len(near), np.bool_)
        for i, (one, t) in enumerate(zip(near.tolist(), c["t"].tolist(), strict=True)):  # a row a window
            if t - self._last_us > self._window_us:
                self._agreed = 0
            self._agreed, self._last_us = self._agreed + 1 if one else 0, t
            kept[i] = self._agreed >= config.windows
        zoom = np.maximum(c["zoom"][kept].astype(np.float64) / 1000, 1e-9)
        columns = {
            "t": c["t"][kept],
            "x": _pixel((self._width - 1) / 2 - c["vx"][kept] / zoom, self._width),
            "y": _pixel((self._height - 1) / 2 - c["vy"][kept] / zoom, self._height),
            "label": np.zeros(int(kept.sum()), np.uint16),
            "flags": c["flags"][kept].astype(np.uint16), "score": c["zoom"][kept],
        }  # fmt: skip
        return [Packet("detections", columns, packet.watermark_us)]

    def reset(self, packet: Packet) -> None:
        self._agreed, self._last_us = 0, NEVER

    def snapshot(self) -> Arrays:
        return {"agreed": np.array([self._agreed, self._last_us], np.int64)}

    def restore(self, arrays: Arrays) -> None:
        self._agreed, self._last_us = (int(value) for value in arrays["agreed"])


def _pixel(
    at: np.ndarray[tuple[int], np.dtype[np.float64]], side: int
) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return np.clip(np.rint(at), 0, side - 1).astype(np.uint16)
