"""A motion field from evidence, tile by tile with numpy."""

import math

import numpy as np


def field(sums, scale, x, y, tile, width, height, direction, speed, min_count):
    """{(tile_y, tile_x): (vx, vy, confidence)}."""
    found = {}
    for ty in range(-(-height // tile)):
        for tx in range(-(-width // tile)):
            inside = (y // tile == ty) & (x // tile == tx)
            if inside.sum() < min_count or not inside.any():
                continue
            logits = sums[inside].astype(np.float64) * scale
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            turned = share @ np.exp(1j * direction)
            total = turned.sum()
            angle = math.atan2(total.imag, total.real)
            near = np.cos(direction - angle) > math.cos(math.radians(61))
            joint = 3 * logits.mean(axis=0)[near]
            weight = np.exp(joint - joint.max()) if near.any() else np.zeros(0)
            pace = math.exp((weight * np.log(speed[near])).sum() / weight.sum()) if near.any() else 0.0
            n, agreed = inside.sum(), (abs(total) / np.abs(turned).sum()) ** 2
            sure = math.sqrt(max((n * agreed - 4) / (n - 4), 0)) if n > 4 else 0.0
            found[ty, tx] = (
                pace * math.cos(angle),
                pace * math.sin(angle),
                sure,
            )
    return found
