"""The DVS pixel, one pixel and one number at a time."""

import math

from tests.reference import random

LEAK, SHOT, PHOTORECEPTOR = 11, 12, 13


def response(intensity):
    level = intensity * math.log(20) / 20 if intensity <= 20 else math.log(intensity)
    return round(level * 1e8) / 1e8


def photoreceptor_rms(shot_hz, cutoff_hz, theta):
    r = math.log10(shot_hz / (2 * cutoff_hz))
    return theta / 10 ** (-0.0026 * r**3 - 0.036 * r**2 - 0.1949 * r + 0.321)


class Pixel:
    """One pixel of a sensor; ``config`` is an EmulatorConfig with ``timing`` interpolated."""

    def __init__(self, config, x, y, at, intensity, leak_hz=0.0):
        self.config, self.x, self.y, self.at, self.leak_hz = config, x, y, at, leak_hz
        self.lp = self.seen = self.base = response(intensity)
        self.noise, self.last = 0.0, -math.inf

    def feed(self, frame, intensity, t0, t1):
        """Events (t, x, y, p) between two frames; times in s."""
        config, dt = self.config, t1 - t0
        before, self.seen = self.seen, self._see(frame, intensity, dt)
        d0 = before - self.base
        if config.leak_hz:
            z = random.normal(config.seed, LEAK, frame, self.at) if config.leak_jitter else 0
            self.base -= dt * self.leak_hz * (1 - config.leak_jitter * z) * config.theta_on
        events = self._crossings(self.seen - self.base, d0, t0, dt)
        if config.shot_hz and not config.photoreceptor_noise:
            events += self._shot(frame, intensity, t0, dt)
        return events

    def _see(self, frame, intensity, dt):
        config = self.config
        if not config.cutoff_hz:
            return response(intensity)
        dt_over_tau = dt * 2 * math.pi * config.cutoff_hz
        eps = min(1, (intensity + 20) / 275 * dt_over_tau)
        self.lp += eps * (response(intensity) - self.lp)
        if config.photoreceptor_noise:
            rms = photoreceptor_rms(
                config.shot_hz, config.cutoff_hz, (config.theta_on + config.theta_off) / 2
            )
            eps = min(1, dt_over_tau)
            z = random.normal(config.seed, PHOTORECEPTOR, frame, self.at)
            self.noise += eps * (z * rms * math.sqrt((2 - eps) / eps) - self.noise)
        return self.lp + self.noise

    def _crossings(self, d1, d0, t0, dt):
        sign, theta = (1, self.config.theta_on) if d1 > 0 else (-1, self.config.theta_off)
        events = []
        for k in range(1, int(abs(d1) / theta) + 1):
            phase = (k * theta - sign * d0) / (sign * (d1 - d0)) if d1 != d0 else 1
            t = (t0 + dt * min(1, max(0, phase))) * 1e6
            if self.config.refractory_us and t - self.last <= self.config.refractory_us:
                continue
            self.last = t
            events.append((t, self.x, self.y, sign > 0))
        self.base += sign * len(events) * theta
        return events

    def _shot(self, frame, intensity, t0, dt):
        u = random.uniform(self.config.seed, SHOT, frame, self.at)
        p = self.config.shot_hz / 2 * dt * (1 - 0.75 * (intensity + 20) / 275)
        if p <= u <= 1 - p:
            return []
        self.base = self.seen
        phase = (1 - u) / p if u > 0.5 else u / p
        return [((t0 + dt * phase) * 1e6, self.x, self.y, u > 0.5)]


def run(config, frames, times_s, leak_hz=None):
    """Events of a sensor of such pixels, in no particular order."""
    events = []
    height, width = len(frames[0]), len(frames[0][0])
    for y in range(height):
        for x in range(width):
            rate = 0.0 if leak_hz is None else leak_hz[y][x]
            pixel = Pixel(config, x, y, y * width + x, frames[0][y][x], rate)
            for i in range(1, len(frames)):
                events += pixel.feed(i, frames[i][y][x], times_s[i - 1], times_s[i])
    return events
