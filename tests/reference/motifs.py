"""Motif detection as the equation says it: dense arrays, one sum a voxel."""

import numpy as np

from tests.reference.random import uniform


def drawn(i, every, bin_us):
    """Whether event ``i`` is the one of its ``every`` that is asked about."""
    return i % every == int(uniform(0, 0x7A27, bin_us, i // every) * every)


def detect(t, x, y, p, weight, bias, bin_us, width, height, contrast_flip, where=("events", 1)):
    """Rows (bin, y, x, winner, sums) for every voxel that is asked for, in canonical order."""
    _, _, delays, kernel_height, kernel_width = weight.shape
    ry, rx = kernel_height // 2, kernel_width // 2
    active = {
        (int(p_), int(t_) // bin_us, int(y_), int(x_)) for t_, x_, y_, p_ in zip(t, x, y, p, strict=True)
    }
    rows = []
    for now, row, column in wanted(t, x, y, active, bin_us, width, height, weight.shape[2:], where):
        logits = []
        for swap in (0, 1) if contrast_flip else (0,):
            total = bias.astype(np.float64).copy()
            for p_ in (0, 1):
                for d in range(delays):
                    for dy in range(-ry, ry + 1):
                        for dx in range(-rx, rx + 1):
                            if (p_ ^ swap, now - d, row + dy, column + dx) in active:
                                total += weight[:, p_, d, dy + ry, dx + rx]
            logits.append(total)
        sums = np.max(logits, axis=0)
        rows.append((now, row, column, int(np.argmax(sums)), sums))
    return rows


def wanted(t, x, y, active, bin_us, width, height, shape, where):
    """The voxels (bin, y, x) that are asked for, sorted."""
    kind, step, *more = where
    if kind == "drawn":
        every = ((int(t[i]) // bin_us, int(y[i]), int(x[i])) for i in range(len(t)) if drawn(i, step, bin_us))
        return list(dict.fromkeys(every))  # in the order in which they were drawn
    if kind == "events":
        return sorted(
            {(int(t[i]) // bin_us, int(y[i]), int(x[i])) for i in range(len(t)) if (i + 1) % step == 0}
        )
    delays, kernel_height, kernel_width = shape
    found = []
    for now in sorted({k for _, k, _, _ in active}):
        for row in range(0, height):
            for column in range(0, width):
                if kind == "grid" and (row % step or column % step):
                    continue
                if kind == "random" and uniform(more[0], 0x7A26, now, row * width + column) >= step:
                    continue
                if any(
                    0 <= now - k < delays
                    and abs(y_ - row) <= kernel_height // 2
                    and abs(x_ - column) <= kernel_width // 2
                    for _, k, y_, x_ in active
                ):
                    found.append((now, row, column))
    return found
