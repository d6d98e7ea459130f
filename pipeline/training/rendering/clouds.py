"""Motion Clouds: textures of random phase whose speed, orientation and scale are set in Fourier space.

Sanz Leon, Vanzetta, Masson & Perrinet, "Motion clouds: model-based stimulus synthesis of natural-like
random textures for the study of motion perception", Journal of Neurophysiology 2012. With frequencies fx, fy
(cycles a pixel), ft (cycles a bin) and f = |(fx, fy)| the amplitude is

    exp(-(ft + vx fx + vy fy)^2 / (2 (b_v f)^2))                      speed
    x exp(cos(2 (angle - theta)) / (4 b_theta^2))                     orientation of the wave vector
    x exp(-ln(f / f0)^2 / (2 ln((f0 + b_f) / f0)^2)) / f              scale
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kernels.columns import F32
from kernels.learning import scan
from pipeline.training.rendering.movies import Movie


@dataclass(frozen=True)
class Cloud:
    """What a cloud looks like.

    Attributes:
        size: side of the square sensor, pixels.
        bins: length, ms.
        scale: f0, cycles a pixel.
        scale_spread: b_f.
        orientation_spread: b_theta, radians.
        speed_spread: b_v, px/ms.
    """

    size: int = 128
    bins: int = 200
    scale: float = 0.125
    scale_spread: float = 0.1
    orientation_spread: float = math.pi / 16
    speed_spread: float = 0.02


def frames(vx: float, vy: float, theta: float, cloud: Cloud, rng: np.random.Generator) -> F32:
    """A cloud that moves by (vx, vy) px/ms, its wave vectors around the angle ``theta``: [bins + 1, size, size]."""
    shape = cloud.bins + 1, cloud.size, cloud.size
    ft = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None, None]
    fy = np.fft.fftfreq(shape[1]).astype(np.float32)[None, :, None]
    fx = np.fft.rfftfreq(shape[2]).astype(np.float32)[None, None, :]
    radius = np.hypot(fx, fy)
    radius[0, 0, 0] = 1.0
    speed = np.exp(-((ft + vx * fx + vy * fy) ** 2) / (2 * (cloud.speed_spread * radius) ** 2))
    angle = np.arctan2(fy, fx)
    orientation = np.exp((np.cos(2 * (angle - theta)) - 1) / (4 * cloud.orientation_spread**2))
    width = math.log((cloud.scale + cloud.scale_spread) / cloud.scale)
    scale = np.exp(-(np.log(radius / cloud.scale) ** 2) / (2 * width**2)) / radius
    scale[0, 0, 0] = 0.0
    phase = rng.uniform(0, 2 * np.pi, speed.shape).astype(np.float32)
    spectrum = (speed * (orientation * scale)) * np.exp(1j * phase)
    made = np.fft.irfftn(spectrum, shape, axes=(0, 1, 2)).astype(np.float32)
    return made / made.std()


def movie(vx: float, vy: float, theta: float, label: int, cloud: Cloud, rng: np.random.Generator) -> Movie:
    """Events of a cloud, as of :func:`kernels.learning.scan.retina` at one standard deviation."""
    seen = frames(vx, vy, theta, cloud, rng)
    theta_event = float(np.diff(seen, axis=0).std(dtype=np.float64))
    return Movie.of_bins(scan.retina(seen, theta_event), np.full(cloud.bins, label, np.int64))
