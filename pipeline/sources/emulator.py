"""A DVS sensor that watches frames: the stateful object around :mod:`kernels.video.photoreceptor` and
:mod:`kernels.video.emulator`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kernels.columns import F32
from kernels.filters import NEVER
from kernels.random import normals
from kernels.video import emulator as pixel
from kernels.video import photoreceptor as light
from kernels.video.emulator import Base
from pipeline import packets
from pipeline.packets import Events

LOWEST_THETA = 0.01
LONGEST_GAP_S = 2000.0
"""Behind a longer gap between frames the pixels begin anew: nobody knows what they saw."""
_ON, _OFF, _LEAK_RATE = 1, 2, 3
"""What the draws at a sensor's birth are for."""


class EmulatorConfig(BaseModel):
    """The DVS pixel's parameters; the defaults are an ideal pixel, :data:`PRESETS` names others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    theta_on: float = Field(default=0.2, gt=0, description="ON threshold, log intensity")
    theta_off: float = Field(default=0.2, gt=0, description="OFF threshold, log intensity")
    theta_sigma: float = Field(default=0.0, ge=0, description="mismatch: deviation of the pixels' thresholds")
    cutoff_hz: float = Field(
        default=0.0, ge=0, description="photoreceptor low-pass at full brightness; 0 for none"
    )
    leak_hz: float = Field(default=0.0, ge=0, description="rate of leak events")
    leak_jitter: float = Field(default=0.0, ge=0, description="relative deviation of a leak, frame by frame")
    leak_cov_decades: float = Field(
        default=0.0, ge=0, le=2, description="deviation of log10 of pixels' leak rates"
    )
    shot_hz: float = Field(default=0.0, ge=0, description="rate of shot-noise events of a dark pixel")
    photoreceptor_noise: bool = Field(
        default=False,
        description="noise before the threshold instead of events at random; needs cutoff and shot",
    )
    refractory_us: int = Field(default=0, ge=0, description="refractory period; 0 for none")
    timing: Literal["interpolated", "compatible"] = Field(
        default="interpolated", description="event times on the line between frames, or in v2e's slots"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of mismatch and noise")

    @model_validator(mode="after")
    def _noise_has_a_band(self) -> EmulatorConfig:
        if self.photoreceptor_noise and not (self.cutoff_hz > 0 and self.shot_hz > 0):
            raise ValueError("photoreceptor_noise needs cutoff_hz and shot_hz above 0")
        return self


PRESETS: dict[str, EmulatorConfig] = {
    "ideal": EmulatorConfig(),
    "clean": EmulatorConfig(theta_sigma=0.02),
    "noisy": EmulatorConfig(theta_sigma=0.05, cutoff_hz=30, leak_hz=0.1, shot_hz=5),
    "v2e": EmulatorConfig(
        theta_sigma=0.03, cutoff_hz=300, leak_hz=0.01, shot_hz=0.001, refractory_us=500,
        leak_jitter=0.1, leak_cov_decades=0.1,
    ),
}  # fmt: skip
"""Pixels with a name: without any fault; v2e's presets ``clean`` and ``noisy``; the defaults of its command."""

_NOTHING = np.empty((0, 0), np.float32)
_FRAMES = ("uint8", "uint16", "float32", "float64")


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
        self._frame = -1
        self._base: Base | None = None
        filtered = config.cutoff_hz > 0
        self._shape, self._lp = shape, np.zeros(shape if filtered else (0, 0))
        self._noise = np.zeros(shape if config.photoreceptor_noise else (0, 0), np.float32)
        # What the comparators see now, and saw at the last frame. Their precision is v2e's.
        self._level: Base = np.zeros(shape, np.float64 if filtered else np.float32)
        self._before: Base = np.zeros_like(self._level)
        self.set_thresholds(
            self._drawn(shape, _ON, config.theta_on, config.theta_sigma),
            self._drawn(shape, _OFF, config.theta_off, config.theta_sigma),
        )
        decades = self._drawn(shape, _LEAK_RATE, 0.0, config.leak_cov_decades)
        self.set_leak_rates(np.power(np.float32(10), decades))
        self._counts = np.zeros(shape, np.int32)
        self._last_us = np.full(shape if config.refractory_us else (1, 1), float(NEVER))
        # v2e lets every pixel fire at time zero.
        self._last_s = np.full(shape, -config.refractory_us * 1e-6, np.float32)
        self._scratch = pixel.Scratch()
        self._t_s = 0.0

    def feed(self, frame: NDArray[Any], t_s: float) -> Events:
        """Events between the last frame and this one, sorted by time, ties in raster order.

        Args:
            frame: grey image [height, width]; uint8, uint16 (scaled to 0..255) or float in 0..255.
            t_s: its time in seconds, later than the last one's.

        Raises:
            ValueError: time stands still or runs backwards, or the frame is of another size or type.
        """
        if frame.shape != self._shape or frame.dtype.name not in _FRAMES:
            raise ValueError(
                f"frames must be grey [height, width] = {[*self._shape]} of uint8, uint16, float32 or float64, "
                f"not {frame.dtype} {[*frame.shape]}"
            )
        if self._base is not None and t_s <= self._t_s:
            raise ValueError(f"frame times must rise: {t_s} s after {self._t_s} s")
        dt_s, before_s, self._t_s = t_s - self._t_s, self._t_s, t_s
        self._frame += 1
        self._sense(frame, dt_s)
        if self._base is None or dt_s > LONGEST_GAP_S:
            self._base = self._level.copy()
            return packets.no_events()
        leaked = self._leak(self._base, dt_s)
        found = pixel.Frame(before_s * 1e6, dt_s * 1e6, self._scratch)
        if self._config.timing == "interpolated":
            return self._interpolated(frame, found, self._base, leaked)
        return self._compatible(frame, found, self._base, before_s, t_s)

    def set_thresholds(self, on: NDArray[Any], off: NDArray[Any]) -> None:
        """Give each pixel its own thresholds [height, width], clamped at 0.01."""
        self._theta_on = np.maximum(on, np.float32(LOWEST_THETA)).astype(np.float32)
        self._theta_off = np.maximum(off, np.float32(LOWEST_THETA)).astype(np.float32)
        self._ratio_on = (self._config.theta_on / self._theta_on).astype(np.float32)
        self._ratio_off = (self._config.theta_off / self._theta_off).astype(np.float32)

    def set_leak_rates(self, relative: NDArray[Any]) -> None:
        """Give each pixel its own leak rate, relative to the configured one [height, width]."""
        self._leak_hz = np.float32(self._config.leak_hz) * np.ascontiguousarray(relative, np.float32)

    @property
    def base(self) -> Base | None:
        """The level of each pixel's last event, or None before the first frame."""
        return self._base

    @property
    def leak_hz(self) -> F32:
        """Each pixel's own leak rate [height, width]."""
        return self._leak_hz

    def _drawn(self, shape: tuple[int, int], purpose: int, mean: float, sigma: float) -> F32:
        if sigma == 0:
            return np.full(shape, mean, np.float32)
        drawn = mean + sigma * normals(self._config.seed, purpose, 0, shape[0] * shape[1])
        return drawn.reshape(shape).astype(np.float32)

    def _sense(self, frame: NDArray[Any], dt_s: float) -> None:
        """What the comparators see becomes what they saw; what they see comes from this frame."""
        config = self._config
        self._before, self._level = self._level, self._before
        if config.cutoff_hz == 0:
            _respond(frame, self._level)
            return
        response = np.empty(self._shape, np.float32)
        _respond(frame, response)
        if self._base is None:
            self._lp[:] = response
        else:
            light.low_pass(self._lp, response, frame, _per_unit(frame), dt_s, config.cutoff_hz)
        self._level[:] = self._lp
        if self._noise.size and self._base is not None:
            theta = (config.theta_on + config.theta_off) / 2
            rms = light.noise_rms(config.shot_hz, config.cutoff_hz, theta)
            light.photoreceptor_noise(self._noise, rms, dt_s, config.cutoff_hz, config.seed, self._frame)
            self._level += self._noise

    def _leak(self, base: Base, dt_s: float) -> F32:
        """Let the levels sink; what was taken, where the times of events need it."""
        config = self._config
        if config.leak_hz == 0:
            return _NOTHING
        before = base.copy() if config.timing == "interpolated" else base
        light.leak(base, self._leak_hz, config.leak_jitter, dt_s, self._theta_on, config.seed, self._frame)
        return (before - base).astype(np.float32) if config.timing == "interpolated" else _NOTHING

    def _interpolated(self, frame: NDArray[Any], found: pixel.Frame, base: Base, leaked: F32) -> Events:
        pixel.emit_interpolated(
            found, self._level, self._before, base, self._theta_on, self._theta_off, leaked,
            self._last_us, float(self._config.refractory_us),
        )  # fmt: skip
        self._shot(frame, found, base, at_end=False)
        return found.events()

    def _compatible(
        self, frame: NDArray[Any], found: pixel.Frame, base: Base, before_s: float, t_s: float
    ) -> Events:
        theta = (self._theta_on, self._theta_off)
        total, slots = pixel.count_changes(self._level, base, *theta, self._counts)
        events = pixel.emit_in_slots(
            base, *theta, self._counts, total, *_slot_times(before_s, t_s, slots),
            self._last_s, self._refractory_in(t_s - before_s, slots),
        )  # fmt: skip
        if not self._shot(frame, found, base, at_end=True):
            return events
        # All of it is stamped with the frame's own time: nothing comes after it.
        return packets.join([events, found.events()])

    def _shot(self, frame: NDArray[Any], found: pixel.Frame, base: Base, at_end: bool) -> bool:
        config = self._config
        if config.shot_hz == 0 or config.photoreceptor_noise:
            return False
        pixel.emit_shot_noise(
            found, self._level, base, frame, _per_unit(frame), self._ratio_on, self._ratio_off,
            config.shot_hz, at_end, config.seed, self._frame,
        )  # fmt: skip
        return True

    def _refractory_in(self, dt_s: float, slots: int) -> float:
        """The refractory period in s where v2e applies it: in frames whose slots are narrower."""
        period_s = self._config.refractory_us * 1e-6
        return period_s if slots and period_s > dt_s / slots else 0.0


def _respond(frame: NDArray[Any], response: Base) -> None:
    if frame.dtype == np.uint8:
        light.look_up(frame, light.LOG_TABLE, response)
    elif frame.dtype == np.uint16:
        light.look_up(frame, light.LOG_TABLE_16, response)
    else:
        response[:] = light.log_intensity(frame)


def _per_unit(frame: NDArray[Any]) -> float:
    """How much of a frame's values makes one of 0..255."""
    return 257.0 if frame.dtype == np.uint16 else 1.0


def _slot_times(t0_s: float, t1_s: float, slots: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The slots of one frame: in float32 seconds as v2e's linspace gives them, and in us."""
    k = np.arange(slots)
    exact_us = np.rint((t0_s + (t1_s - t0_s) * (k + 1) / max(slots, 1)) * 1e6).astype(np.int64)
    # linspace counts its first half from the start and its second half back from the end.
    first, last = np.float32(t0_s + (t1_s - t0_s) / max(slots, 1)), np.float32(t1_s)
    step = (last - first) / np.float32(max(slots - 1, 1))
    forth, back = first + step * k.astype(np.float32), last - step * (slots - 1 - k).astype(np.float32)
    return np.where(k < slots // 2, forth, back).astype(np.float32), exact_us
