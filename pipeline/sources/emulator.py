"""A DVS sensor that watches frames: the stateful object around :mod:`kernels.emulator`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernels import emulator as pixel
from kernels.emulator import Base
from kernels.filters import NEVER


class EmulatorConfig(BaseModel):
    """The DVS pixel's parameters; the defaults are v2e's preset ``clean`` without its mismatch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    theta_on: float = Field(default=0.2, gt=0, description="ON threshold, log intensity")
    theta_off: float = Field(default=0.2, gt=0, description="OFF threshold, log intensity")
    cutoff_hz: float = Field(
        default=0.0, ge=0, description="photoreceptor low-pass at full brightness; 0 for none"
    )
    leak_hz: float = Field(default=0.0, ge=0, description="rate of leak events")
    refractory_us: int = Field(default=0, ge=0, description="refractory period; 0 for none")
    timing: Literal["interpolated", "compatible"] = Field(
        default="interpolated", description="event times on the line between frames, or in v2e's slots"
    )


_NOTHING = np.empty((0, 0))


class Emulator:
    """Turns frames into events, frame by frame, in constant memory.

    Args:
        config: the pixel's parameters.
        width: of the frames and so of the sensor.
        height: likewise.
    """

    def __init__(self, config: EmulatorConfig, width: int, height: int) -> None:
        shape = (height, width)
        self._config = config
        self._base: Base | None = None
        self._lp: Base = np.zeros(shape)
        self._theta_on = np.full(shape, max(config.theta_on, 0.01), np.float32)
        self._theta_off = np.full(shape, max(config.theta_off, 0.01), np.float32)
        self._counts = np.zeros(shape, np.int32)
        self._last_us = np.full(shape, float(NEVER))
        # v2e lets every pixel fire at time zero.
        self._last_s = np.full(shape, -config.refractory_us * 1e-6, np.float32)
        self._t_s = 0.0

    def feed(
        self, frame: NDArray[Any], t_s: float
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]:
        """Events between the last frame and this one, sorted by time, ties in raster order.

        Args:
            frame: grey image [height, width]; uint8, uint16 (scaled to 0..255) or float in 0..255.
            t_s: its time in seconds, later than the last one's.

        Raises:
            ValueError: time stands still or runs backwards.
        """
        if self._base is not None and t_s <= self._t_s:
            raise ValueError(f"frame times must rise: {t_s} s after {self._t_s} s")
        dt_s, before_s, self._t_s = t_s - self._t_s, self._t_s, t_s
        response, intensity = self._response(frame)
        before = self._lp
        self._lp = self._filtered(response, intensity, dt_s)
        if self._base is None:
            self._base = self._lp.copy()
            none = np.empty(0, np.uint16)
            return np.empty(0, np.int64), none, none.copy(), np.empty(0, np.bool_)
        leak = np.float32(dt_s) * np.float32(self._config.leak_hz) * self._theta_on
        theta = (self._theta_on, self._theta_off)
        total, slots = pixel.count_changes(self._lp, self._base, leak, *theta, self._counts)
        if self._config.timing == "interpolated":
            columns = pixel.emit_interpolated(
                self._lp, before, self._base, leak, *theta, self._counts, total,
                before_s * 1e6, dt_s * 1e6, self._last_us, float(self._config.refractory_us),
            )  # fmt: skip
        else:
            columns = pixel.emit_in_slots(
                self._base, *theta, self._counts, total, *_slot_times(before_s, t_s, slots),
                self._last_s, self._refractory_in(dt_s, slots),
            )  # fmt: skip
        return _sorted(columns)

    def set_thresholds(self, on: NDArray[np.float32], off: NDArray[np.float32]) -> None:
        """Give each pixel its own thresholds [height, width], clamped at 0.01."""
        self._theta_on = np.maximum(on, np.float32(0.01)).astype(np.float32)
        self._theta_off = np.maximum(off, np.float32(0.01)).astype(np.float32)

    @property
    def base(self) -> Base | None:
        """The level of each pixel's last event, or None before the first frame."""
        return self._base

    def _response(self, frame: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        if frame.dtype == np.uint8:
            return pixel.LOG_TABLE[frame], frame.astype(np.float64) if self._config.cutoff_hz else _NOTHING
        intensity = frame.astype(np.float64) / (257.0 if frame.dtype == np.uint16 else 1.0)
        return pixel.log_intensity(intensity), intensity

    def _filtered(self, response: NDArray[np.float32], intensity: NDArray[np.float64], dt_s: float) -> Base:
        if self._config.cutoff_hz == 0:
            return response
        if self._base is None:
            return response.astype(np.float64)
        lp = self._lp.astype(np.float64)
        pixel.low_pass(lp, response, intensity, dt_s, self._config.cutoff_hz)
        return lp

    def _refractory_in(self, dt_s: float, slots: int) -> float:
        """The refractory period in s where v2e applies it: in frames whose slots are narrower."""
        period_s = self._config.refractory_us * 1e-6
        return period_s if slots and period_s > dt_s / slots else 0.0


def _slot_times(t0_s: float, t1_s: float, slots: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The slots of one frame: in float32 seconds as v2e's linspace gives them, and in us."""
    k = np.arange(slots)
    exact_us = np.rint((t0_s + (t1_s - t0_s) * (k + 1) / max(slots, 1)) * 1e6).astype(np.int64)
    # linspace counts its first half from the start and its second half back from the end.
    first, last = np.float32(t0_s + (t1_s - t0_s) / max(slots, 1)), np.float32(t1_s)
    step = (last - first) / np.float32(max(slots - 1, 1))
    forth, back = first + step * k.astype(np.float32), last - step * (slots - 1 - k).astype(np.float32)
    return np.where(k < slots // 2, forth, back).astype(np.float32), exact_us


def _sorted(
    columns: tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]],
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]:
    t, x, y, p = columns
    if len(t) == 0:
        return columns
    since = t - t.min()
    # numpy sorts 16-bit keys by radix, an order of magnitude faster.
    order = np.argsort(since.astype(np.uint16) if int(since.max()) < 65536 else since, kind="stable")
    return t[order], x[order], y[order], p[order]
