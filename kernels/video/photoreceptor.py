"""What a DVS pixel sees: the photoreceptor's response, its low-pass, its noise, and the leak of its level.

The equations, and where they come from, are those at the head of :mod:`kernels.video.emulator`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import F32, F64
from kernels.random import NORMAL, as_normal, bits_at, key_of

Base = NDArray[np.floating[Any]]

LINEAR_BELOW = 20.0
"""Intensity up to which the response is linear, so that the logarithm of zero is never taken."""
_LEAK, _PHOTORECEPTOR = 11, 13
"""What draws are for, so that no two purposes share one."""


def log_intensity(intensity: F64) -> F32:
    """The pixel's response to ``intensity`` (0..255): linear below 20, logarithmic above."""
    i = np.asarray(intensity, np.float64)
    with np.errstate(divide="ignore"):
        log = np.where(i <= LINEAR_BELOW, i * (math.log(LINEAR_BELOW) / LINEAR_BELOW), np.log(i))
    return (np.rint(log * 1e8) / 1e8).astype(np.float32)


LOG_TABLE: F32 = log_intensity(np.arange(256, dtype=np.float64))
"""The response to each 8-bit intensity."""
LOG_TABLE_16: F32 = log_intensity(np.arange(65536, dtype=np.float64) / 257.0)
"""The response to each 16-bit intensity."""


def look_up(frame: NDArray[Any], table: F32, response: Base) -> None:
    """Write the response ``table[frame]`` of an 8- or 16-bit frame [height, width]."""
    _look_up(frame, table, response)


def low_pass(
    lp: F64, response: F32, intensity: NDArray[Any], per_unit: float, dt_s: float, cutoff_hz: float
) -> None:
    """Move the photoreceptor's state ``lp`` [height, width] towards ``response``, in place.

    Args:
        lp: the state, log intensity.
        response: where it is going.
        intensity: what sets its speed; ``per_unit`` of it make one of 0..255.
        per_unit: 1 for 8-bit frames, 257 for 16-bit ones.
        dt_s: time since the last frame.
        cutoff_hz: of a white pixel.
    """
    _low_pass(lp, response, intensity, per_unit, dt_s * 2.0 * math.pi * cutoff_hz)


def leak(base: Base, rate_hz: F32, jitter: float, dt_s: float, theta_on: F32, seed: int, frame: int) -> None:
    """Let ``base`` sink: base -= dt rate (1 - jitter z) theta_on, in place.

    Args:
        base: level of each pixel's last event.
        rate_hz: leak events per second and pixel, each pixel's own.
        jitter: relative deviation from frame to frame.
        dt_s: time since the last frame.
        theta_on: ON thresholds.
        seed: of the draws z.
        frame: index of this frame.
    """
    _leak(base, rate_hz, np.float32(jitter), np.float32(dt_s), theta_on, seed, frame, NORMAL)


def photoreceptor_noise(noise: F32, rms: float, dt_s: float, cutoff_hz: float, seed: int, frame: int) -> None:
    """Move low-passed white noise on by one frame, in place; its RMS stays ``rms``.

    noise = (1 - eps) noise + eps z rms sqrt((2 - eps)/eps), eps = min(1, dt 2 pi cutoff): white noise
    whose variance makes up for what the filter takes. (v2e's filter does not clamp eps and diverges where
    dt is more than two time constants, as at 25 frames a second and 30 Hz.)
    """
    eps = min(1.0, dt_s * 2.0 * math.pi * cutoff_hz)
    gain = rms * math.sqrt((2.0 - eps) * eps)
    _photoreceptor_noise(noise, np.float32(1.0 - eps), np.float32(gain), seed, frame, NORMAL)


def noise_rms(shot_hz: float, cutoff_hz: float, theta: float) -> float:
    """RMS of the photoreceptor's noise that makes a pixel fire at ``shot_hz``, log units.

    v2e's fit of simulated rates: log10(theta / rms) = -0.0026 r^3 - 0.036 r^2 - 0.1949 r + 0.321 with
    r = log10(shot / (2 cutoff)).
    """
    r = math.log10(shot_hz / cutoff_hz / 2.0)
    return theta / 10.0 ** (-0.0026 * r**3 - 0.036 * r**2 - 0.1949 * r + 0.321)


@kernel
def _look_up(frame: NDArray[Any], table: F32, response: Base) -> None:
    height, width = frame.shape
    for y in range(height):
        for x in range(width):
            response[y, x] = table[np.uint64(frame[y, x])]


@kernel
def _low_pass(lp: F64, response: F32, intensity: NDArray[Any], per_unit: float, dt_over_tau: float) -> None:
    height, width = lp.shape
    for y in range(height):
        for x in range(width):
            eps = min(1.0, (intensity[y, x] / per_unit + 20.0) / 275.0 * dt_over_tau)
            lp[y, x] = (1.0 - eps) * lp[y, x] + eps * np.float64(response[y, x])


@kernel
def _leak(
    base: Base, rate_hz: F32, jitter: float, dt_s: float, theta_on: F32, seed: int, frame: int, table: F32
) -> None:
    height, width = base.shape
    key = key_of(seed, _LEAK, frame)
    for y in range(height):
        for x in range(width):
            rate = rate_hz[y, x]
            if jitter > 0:
                z = as_normal(bits_at(key, y * width + x), table)
                rate = rate * (np.float32(1.0) - jitter * z)
            base[y, x] -= dt_s * rate * theta_on[y, x]


@kernel
def _photoreceptor_noise(noise: F32, kept: float, gain: float, seed: int, frame: int, table: F32) -> None:
    height, width = noise.shape
    key = key_of(seed, _PHOTORECEPTOR, frame)
    for y in range(height):
        for x in range(width):
            noise[y, x] = kept * noise[y, x] + gain * as_normal(bits_at(key, y * width + x), table)
