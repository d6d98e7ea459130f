"""Pan, tilt, zoom and rotation by numpy's least squares, reweighted as the kernel says."""

import numpy as np


def fit(x, y, vx, vy, weight):
    n = len(x)
    if n < 3:
        return np.zeros(4), 0.0
    one, zero = np.ones(n), np.zeros(n)
    design = np.concatenate([np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)])
    target, share = np.concatenate([vx, vy]), np.ones(n)
    for _ in range(12):
        root = np.sqrt(np.tile(weight * share, 2))
        found = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        rest = (target - design @ found).reshape(2, n)
        residual = np.hypot(*rest)
        scale = 1.5 * np.sort(residual)[n // 2] + 1e-9
        share = np.minimum(1.0, scale / np.maximum(residual, 1e-300))
    total = (weight * (vx**2 + vy**2)).sum()
    return found, max(0.0, 1 - (weight * residual**2).sum() / total) if total > 0 else 0.0


def growth(motion, x, y, weight):
    if weight.sum() <= 0:
        return 0.0
    mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
    rho = np.sqrt(np.average((x - mx) ** 2 + (y - my) ** 2, weights=weight))
    vx, vy, zoom, rotation = motion
    there = vx + zoom * mx - rotation * my, vy + zoom * my + rotation * mx
    otherwise = np.sqrt(there[0] ** 2 + there[1] ** 2 + (rotation * rho) ** 2)
    return zoom * rho / max(otherwise, 1e-12)
