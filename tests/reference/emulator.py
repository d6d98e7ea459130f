"""The DVS pixel, one pixel and one number at a time."""

import math


def response(intensity):
    level = intensity * math.log(20) / 20 if intensity <= 20 else math.log(intensity)
    return round(level * 1e8) / 1e8


def interpolated(frames, times_s, theta_on, theta_off, refractory_us=0):
    """Events (t, x, y, p) of a noise-free pixel array, in no particular order."""
    events = []
    height, width = len(frames[0]), len(frames[0][0])
    for y in range(height):
        for x in range(width):
            base, last_fired = response(frames[0][y][x]), None
            for before, now, t0, t1 in zip(frames, frames[1:], times_s, times_s[1:], strict=False):
                d0, d1 = response(before[y][x]) - base, response(now[y][x]) - base
                sign, theta = (1, theta_on) if d1 > 0 else (-1, theta_off)
                kept = 0
                for k in range(1, int(abs(d1) / theta) + 1):
                    phase = (k * theta - sign * d0) / (sign * (d1 - d0)) if d1 != d0 else 1
                    t = (t0 + (t1 - t0) * min(1, max(0, phase))) * 1e6
                    if refractory_us and last_fired is not None and t - last_fired <= refractory_us:
                        continue
                    last_fired = t
                    events.append((t, x, y, sign > 0))
                    kept += 1
                base += sign * kept * theta
    return events
