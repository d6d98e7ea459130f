"""Evidence on one scale, row by row, as the equations say it."""

import math

import numpy as np

F = np.float32


def advance(t, tile, evidence, mean, spread, tau_us, least):
    levels = {}
    out = np.empty_like(evidence)
    for i, (now, k) in enumerate(zip(t.tolist(), tile.tolist(), strict=True)):
        one = levels.setdefault(
            k, {"m": mean, "v": spread * spread, "w": 0.0, "rows": [], "bin": None, "step": now}
        )
        if one["bin"] != now:
            if len(one["rows"]) >= least:
                share = -math.expm1(-max(1.0, one["bin"] - one["step"]) / tau_us)
                one["w"] += share * (1 - one["w"])
                share /= one["w"]
                middle = sum(one["rows"]) / len(one["rows"])
                around = sum((e - middle) ** 2 for e in one["rows"]) / len(one["rows"])
                off = (1 - share) * (middle - one["m"])
                one["m"] += share * (middle - one["m"])
                one["v"] += share * (around + off**2 - one["v"])
                one["rows"], one["step"] = [], one["bin"]
            one["bin"] = now
        width = math.sqrt(max(one["v"], (0.1 * spread) ** 2))
        out[i] = [F((float(e) - one["m"]) * (spread / width) + mean) for e in evidence[i]]
        one["rows"].append(float(evidence[i].max()))
    return out
