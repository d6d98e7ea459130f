"""One movement of the whole view from a motion field: pan, tilt, zoom and rotation.

A camera that turns, or nears a plane it faces, sees the field

    v(r) = (vx, vy) + zoom (r - c) + rotation J (r - c),    J (x, y) = (-y, x)

around the middle c of its view. The four numbers are the weighted least squares over the tiles; tiles that
do not agree (things that move by themselves) lose weight, |residual| beyond the median by Huber's rule, in a
few rounds. The model is that of Longuet-Higgins & Prazdny, Proc. R. Soc. B 1980, without parallax.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels.columns import F64

_ROUNDS = 12
_UNKNOWNS = 4


def fit(x: F64, y: F64, vx: F64, vy: F64, weight: F64) -> tuple[F64, float]:
    """The movement that explains a field.

    Args:
        x: middles of the tiles [n], relative to the middle of the view, pixels.
        y: likewise.
        vx: of the tiles [n], px/ms.
        vy: likewise.
        weight: of the tiles [n], such as their confidence.

    Returns:
        (vx, vy px/ms, zoom 1/ms, rotation rad/ms) and the share, 0 to 1, of motion explained:
        1 - sum w |v - model|^2 / sum w |v|^2. All zero where tiles cannot tell: fewer than 3, or in one place.
    """
    found = np.zeros(_UNKNOWNS)
    explained = _fit(x, y, vx, vy, weight, found)
    return found, float(explained)


@kernel
def _fit(x: F64, y: F64, vx: F64, vy: F64, weight: F64, found: F64) -> float:
    n = x.size
    residual, share = np.zeros(n), np.ones(n)
    if n < 3:
        return 0.0
    for _ in range(_ROUNDS):
        if not _solve(x, y, vx, vy, weight, share, found):
            found[:] = 0.0
            return 0.0
        for i in range(n):
            ex = vx[i] - (found[0] + found[2] * x[i] - found[3] * y[i])
            ey = vy[i] - (found[1] + found[2] * y[i] + found[3] * x[i])
            residual[i] = (ex * ex + ey * ey) ** 0.5
        scale = 1.5 * np.sort(residual)[n // 2] + 1e-9
        for i in range(n):
            share[i] = 1.0 if residual[i] <= scale else scale / residual[i]
    lost, total = 0.0, 0.0
    for i in range(n):
        lost += weight[i] * residual[i] ** 2
        total += weight[i] * (vx[i] * vx[i] + vy[i] * vy[i])
    return max(0.0, 1.0 - lost / total) if total > 0 else 0.0


@kernel
def _solve(x: F64, y: F64, vx: F64, vy: F64, weight: F64, share: F64, found: F64) -> bool:
    """The normal equations, by elimination: with sums over w, the unknowns couple only through x, y and r^2."""
    w, wx, wy, wr = 0.0, 0.0, 0.0, 0.0
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(x.size):
        k = weight[i] * share[i]
        w += k
        wx += k * x[i]
        wy += k * y[i]
        wr += k * (x[i] * x[i] + y[i] * y[i])
        a += k * vx[i]
        b += k * vy[i]
        c += k * (x[i] * vx[i] + y[i] * vy[i])
        d += k * (x[i] * vy[i] - y[i] * vx[i])
    if w <= 0:
        return False
    spread = wr - (wx * wx + wy * wy) / w
    if spread <= 1e-6 * max(wr, 1.0):
        return False
    found[2] = (c - (wx * a + wy * b) / w) / spread
    found[3] = (d - (wx * b - wy * a) / w) / spread
    found[0] = (a - found[2] * wx + found[3] * wy) / w
    found[1] = (b - found[2] * wy - found[3] * wx) / w
    return True
