"""Motif detection as the equation says it: dense arrays, one sum a voxel."""

import numpy as np


def detect(t, x, y, p, weight, bias, bin_us, width, height, contrast_flip):
    """Rows (bin, y, x, winner, sums) for every voxel that held an event, in canonical order."""
    _, _, delays, size, _ = weight.shape
    r = size // 2
    active = {
        (int(p_), int(t_) // bin_us, int(y_), int(x_)) for t_, x_, y_, p_ in zip(t, x, y, p, strict=True)
    }
    rows = []
    for now, row, column in sorted({(k, y_, x_) for _, k, y_, x_ in active}):
        logits = []
        for swap in (0, 1) if contrast_flip else (0,):
            total = bias.astype(np.float64).copy()
            for p_ in (0, 1):
                for d in range(delays):
                    for dy in range(-r, r + 1):
                        for dx in range(-r, r + 1):
                            if (p_ ^ swap, now - d, row + dy, column + dx) in active:
                                total += weight[:, p_, d, dy + r, dx + r]
            logits.append(total)
        sums = np.max(logits, axis=0)
        rows.append((now, row, column, int(np.argmax(sums)), sums))
    return rows
