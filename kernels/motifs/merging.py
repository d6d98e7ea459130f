"""Answers of several detectors in one order: rows of all parts, each sorted by (bin, y, x), sorted by it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32, I64, XY


class Found(NamedTuple):
    """Rows of closed bins, in order of (bin, y, x).

    Attributes:
        bin: of the rows [n].
        x: likewise; so is ``y``.
        y: see above.
        label: the winner.
        total: the winner's integer sum.
        evidence: all classes' integer sums [n, class], or [0, class] where nobody asked.
    """

    bin: I64
    x: XY
    y: XY
    label: XY
    total: F32
    evidence: F32


def merged(parts: tuple[Found, ...]) -> Found:
    """One set of rows of several that are sorted by (bin, y, x); no two parts hold the same voxel."""
    n = sum(len(part.bin) for part in parts)
    evidence = parts[0].evidence
    rows = n if any(len(part.evidence) for part in parts) else 0
    out = Found(
        np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint16),
        np.empty(n, np.float32), np.empty((rows, evidence.shape[1]), np.float32),
    )  # fmt: skip
    left = parts[0]
    if len(parts) == 1:
        return left
    for right in parts[1:-1]:
        left = merged((left, right))
    _merge(left, parts[-1], out)
    return out


@kernel
def _merge(a: Found, b: Found, out: Found) -> None:
    i, j = 0, 0
    for k in range(out.bin.size):
        first = j == b.bin.size
        if not first and i < a.bin.size:
            if a.bin[i] != b.bin[j]:
                first = a.bin[i] < b.bin[j]
            elif a.y[i] != b.y[j]:
                first = a.y[i] < b.y[j]
            else:
                first = a.x[i] < b.x[j]
        if first:
            _copy(a, i, out, k)
            i += 1
        else:
            _copy(b, j, out, k)
            j += 1


@kernel
def _copy(source: Found, i: int, out: Found, k: int) -> None:
    out.bin[k], out.x[k], out.y[k] = source.bin[i], source.x[i], source.y[i]
    out.label[k], out.total[k] = source.label[i], source.total[i]
    if out.evidence.shape[0] > 0:
        for c in range(out.evidence.shape[1]):
            out.evidence[k, c] = source.evidence[i, c]
