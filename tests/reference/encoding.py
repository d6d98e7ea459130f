"""Events counted step by step, one after the other."""

import numpy as np


def by_time(t, x, y, p, width, height, polarities, most, step_us, until_step):
    """(first step, [step, input], [step] events) of the steps before ``until_step``."""
    if len(t) == 0:
        return None
    first = int(t[0]) // step_us
    steps = max(until_step - first, 0)
    out, events = np.zeros((steps, height * width * polarities)), np.zeros(steps, np.int64)
    for t_, x_, y_, p_ in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        k = t_ // step_us - first
        if k < steps:
            out[k, (y_ * width + x_) * polarities + (p_ if polarities == 2 else 0)] += 1
            events[k] += 1
    return first, np.minimum(out, most), events


def by_count(x, y, p, width, height, polarities, most, step_events):
    """[step, input] of the steps that are full."""
    steps = len(x) // step_events
    out = np.zeros((steps, height * width * polarities))
    for i in range(steps * step_events):
        at = (int(y[i]) * width + int(x[i])) * polarities + (int(p[i]) if polarities == 2 else 0)
        out[i // step_events, at] += 1
    return np.minimum(out, most)
