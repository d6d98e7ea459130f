"""Pan, tilt, zoom and rotation by numpy's least squares, reweighted as the kernel says."""

import numpy as np

from kernels.random import uniforms  # which has a twin of its own


def fit(x, y, vx, vy, weight):
    n = len(x)
    if n < 3:
        return np.zeros(4), 0.0
    found = None
    share = np.ones(n)
    for _ in range(12):
        found = solved(x, y, vx, vy, weight * share)
        residual = apart(found, x, y, vx, vy)
        share = np.minimum(1.0, (1.5 * np.sort(residual)[n // 2] + 1e-9) / np.maximum(residual, 1e-300))
    speed = np.hypot(vx, vy)
    scale = 0.35 * np.maximum(speed, np.median(speed) / 2) + 1e-9

    def cost(motion):
        return (weight * np.minimum(apart(motion, x, y, vx, vy) ** 2 / scale**2, 1)).sum()

    drawn = np.floor(uniforms(0, 0x6D0, n, 96) * n).astype(int)
    rms = np.sqrt(((x - x.mean()) ** 2 + (y - y.mean()) ** 2).mean())
    pairs = [
        through(i, j, x, y, vx, vy)
        for i, j in zip(drawn[:48], drawn[48:], strict=True)
        if np.hypot(x[i] - x[j], y[i] - y[j]) >= max(rms / 2, 1e-9)
    ]
    tried = []
    for motion in sorted(pairs, key=cost)[:2]:
        tried.append(motion)
        for _ in range(10):
            share = np.clip(1 - (apart(tried[-1], x, y, vx, vy) / (2 * scale)) ** 2, 0, None) ** 2
            if (share > 0).sum() < 3:
                break
            tried[-1] = solved(x, y, vx, vy, weight * share)
    best = min(tried, key=cost, default=found)
    if cost(best) < 0.85 * cost(found):
        found = best
    total = (weight * (vx**2 + vy**2)).sum()
    return found, max(0.0, 1 - (weight * apart(found, x, y, vx, vy) ** 2).sum() / total) if total > 0 else 0.0


def solved(x, y, vx, vy, weight):
    one, zero, root = np.ones(len(x)), np.zeros(len(x)), np.sqrt(np.tile(weight, 2))
    design = np.concatenate([np.stack([one, zero, x, -y], 1), np.stack([zero, one, y, x], 1)])
    return np.linalg.lstsq(design * root[:, None], np.concatenate([vx, vy]) * root, rcond=None)[0]


def through(i, j, x, y, vx, vy):
    """The movement that two tiles make."""
    design = [[1, 0, x[i], -y[i]], [0, 1, y[i], x[i]], [1, 0, x[j], -y[j]], [0, 1, y[j], x[j]]]
    return np.linalg.solve(design, [vx[i], vy[i], vx[j], vy[j]])


def apart(motion, x, y, vx, vy):
    return np.hypot(
        vx - (motion[0] + motion[2] * x - motion[3] * y), vy - (motion[1] + motion[2] * y + motion[3] * x)
    )


def growth(motion, x, y, weight):
    if weight.sum() <= 0:
        return 0.0
    mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
    rho = np.sqrt(np.average((x - mx) ** 2 + (y - my) ** 2, weights=weight))
    vx, vy, zoom, rotation = motion
    there = vx + zoom * mx - rotation * my, vy + zoom * my + rotation * mx
    otherwise = np.sqrt(there[0] ** 2 + there[1] ** 2 + (rotation * rho) ** 2)
    return zoom * rho / max(otherwise, 1e-12)
