"""One movement of the whole view from a motion field: pan, tilt, zoom and rotation.

A camera that turns, or nears a plane it faces, sees the field

    v(r) = (vx, vy) + zoom (r - c) + rotation J (r - c),    J (x, y) = (-y, x)

around the middle c of its view. The four numbers are the weighted least squares over the tiles; tiles that
do not agree (things that move by themselves) lose weight, |residual| beyond the median by Huber's rule, in a
few rounds. Where a thing fills much of the view, that is a compromise between it and the camera. Two tiles already
make a movement: those of some pairs, drawn by hash, are tried as well (Torr & Zisserman, MLESAC, 2000), by the cost

    sum of w min(1, (|residual| / s)^2),    s = 0.35 max(|v|, half the median |v|)

and the two best are settled among the tiles that agree (Tukey's weights up to 2 s). The better of them is taken where
it costs less than 0.85 of the compromise. The model is that of Longuet-Higgins & Prazdny, Proc. R. Soc. B 1980,
without parallax.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.columns import F64
from kernels.random import uniforms

_ROUNDS, _SETTLING = 12, 10
_PAIRS, _SETTLED, _PURPOSE = 48, 2, 0x6D0
_SCALE, _REACH, _BETTER = 0.35, 2.0, 0.85


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
    if len(x) < 3:
        return np.zeros(4), 0.0
    tiles = (x, y, vx, vy, weight)
    found = _compromise(*tiles)
    if found is None:
        return np.zeros(4), 0.0
    scale = _scale(vx, vy)
    tried = [_settled(one, scale, *tiles) for one in _of_pairs(scale, *tiles)]
    best = min(tried, key=lambda one: _cost(one, scale, *tiles), default=found)
    if _cost(best, scale, *tiles) < _BETTER * _cost(found, scale, *tiles):
        found = best
    total = float((weight * (vx**2 + vy**2)).sum())
    lost = float((weight * _residual(found, x, y, vx, vy) ** 2).sum())
    return found, max(0.0, 1.0 - lost / total) if total > 0 else 0.0


def _compromise(x: F64, y: F64, vx: F64, vy: F64, weight: F64) -> F64 | None:
    """Least squares, reweighted by Huber's rule; None where tiles cannot tell."""
    share, found = np.ones(len(x)), None
    for _ in range(_ROUNDS):
        found = _solved(x, y, vx, vy, weight * share)
        if found is None:
            return None
        residual = _residual(found, x, y, vx, vy)
        scale = 1.5 * float(np.partition(residual, len(x) // 2)[len(x) // 2]) + 1e-9
        share = np.minimum(1.0, scale / np.maximum(residual, 1e-300))
    return found


def _of_pairs(scale: F64, x: F64, y: F64, vx: F64, vy: F64, weight: F64) -> list[F64]:
    """The movements of the two pairs of tiles that cost least: with z = x + i y, v = a + (zoom + i rotation) z."""
    n, z, v = len(x), x + 1j * y, vx + 1j * vy
    one, other = (uniforms(0, _PURPOSE, n, 2 * _PAIRS).reshape(2, -1) * n).astype(np.int64)
    apart = z[one] - z[other]
    far = np.abs(apart) >= max(0.5 * float(np.sqrt(np.mean(np.abs(z - z.mean()) ** 2))), 1e-9)
    one, other, apart = one[far], other[far], apart[far]
    grows = (v[one] - v[other]) / apart
    pans = v[one] - grows * z[one]
    found = np.stack([pans.real, pans.imag, grows.real, grows.imag], axis=1)
    cost = np.array([_cost(motion, scale, x, y, vx, vy, weight) for motion in found])
    return [*found[np.argsort(cost, kind="stable")[:_SETTLED]]]


def _settled(motion: F64, scale: F64, x: F64, y: F64, vx: F64, vy: F64, weight: F64) -> F64:
    """A movement after some rounds among the tiles that agree with it."""
    for _ in range(_SETTLING):
        share = np.maximum(1.0 - (_residual(motion, x, y, vx, vy) / (_REACH * scale)) ** 2, 0.0) ** 2
        solved = _solved(x, y, vx, vy, weight * share) if np.count_nonzero(share) >= 3 else None
        if solved is None:
            break
        motion = solved
    return motion


def _scale(vx: F64, vy: F64) -> F64:
    speed = np.hypot(vx, vy)
    return _SCALE * np.maximum(speed, 0.5 * float(np.median(speed))) + 1e-9


def _cost(motion: F64, scale: F64, x: F64, y: F64, vx: F64, vy: F64, weight: F64) -> float:
    return float((weight * np.minimum((_residual(motion, x, y, vx, vy) / scale) ** 2, 1.0)).sum())


def _residual(motion: F64, x: F64, y: F64, vx: F64, vy: F64) -> F64:
    mx, my = at(motion, x, y)
    return np.hypot(vx - mx, vy - my)


def at(motion: F64, x: F64, y: F64) -> tuple[F64, F64]:
    """(vx, vy) px/ms [n] of a movement (vx, vy, zoom, rotation) at places relative to the middle of the view."""
    return motion[0] + motion[2] * x - motion[3] * y, motion[1] + motion[2] * y + motion[3] * x


def growth(motion: F64, x: F64, y: F64, weight: F64) -> float:
    """How fast what the tiles see grows, beside how fast it moves and turns otherwise.

    With m the tiles' weighted middle and rho the root of their mean square distance from it, px,

        zoom rho / hypot(|v(m)|, rotation rho)

    What nears and stays where it is has a large one; what passes by has a small one, and so has the zoom that errors
    of a few per cent make of a pan. Without any motion it is 0.
    """
    total = float(weight.sum())
    if total <= 0:
        return 0.0
    share = weight / total
    mx, my = float((share * x).sum()), float((share * y).sum())
    rho = math.sqrt(float((share * ((x - mx) ** 2 + (y - my) ** 2)).sum()))
    vx, vy = at(motion, np.array([mx]), np.array([my]))
    otherwise = math.hypot(float(vx[0]), float(vy[0]), float(motion[3]) * rho)
    grown = float(motion[2]) * rho
    return grown / max(otherwise, 1e-12) if grown else 0.0


def spread(x: F64, y: F64) -> float:
    """Deviation of places [n] from the line that fits them best, pixels; 0 for fewer than 2."""
    if len(x) < 2:
        return 0.0
    return math.sqrt(max(float(np.linalg.eigvalsh(np.cov(np.stack([x, y])))[0]), 0.0))


def _solved(x: F64, y: F64, vx: F64, vy: F64, weight: F64) -> F64 | None:
    """The normal equations: around the weighted middle of the tiles, the four unknowns do not couple."""
    total = float(weight.sum())
    if total <= 0:
        return None
    share = weight / total
    mx, my, mu, mv = (float((share * column).sum()) for column in (x, y, vx, vy))
    dx, dy = x - mx, y - my
    spread = float((share * (dx**2 + dy**2)).sum())
    if spread <= 1e-6 * max(mx * mx + my * my, 1.0):
        return None
    zoom = float((share * (dx * vx + dy * vy)).sum()) / spread
    rotation = float((share * (dx * vy - dy * vx)).sum()) / spread
    return np.array([mu - zoom * mx + rotation * my, mv - zoom * my - rotation * mx, zoom, rotation])
