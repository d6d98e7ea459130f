"""Coincidences of delayed events as the equation says it: one sum a bin."""

import numpy as np


def detect(t, address, weight, bias, bin_us, until_bin):
    """(bin, sums) of every bin before ``until_bin`` whose window holds an event."""
    _, _, delays = weight.shape
    active = {(int(a), int(t_) // bin_us) for t_, a in zip(t, address, strict=True)}
    rows = []
    for now in sorted({k + d for _, k in active for d in range(delays)}):
        if now >= until_bin:
            break
        total = bias.astype(np.float64).copy()
        for a, k in active:
            if 0 <= now - k < delays:
                total += weight[:, a, now - k]
        rows.append((now, total.tolist()))
    return rows
