"""From a bank's evidence at several bin widths to where each tile moves: a posterior over directions and speeds.

For tile k and scale s, with n rows, of which the integer logits of m sum to sums[c]
(:mod:`kernels.motifs.tile_evidence`),

    Z[s, c] = sqrt(n / (n + 4)) scale sums[c] / m,    nu = 0.3 + sqrt(mean Z^2),    X = (Z, Z / nu)

Classes lie on a grid of A angles, so that a set, a scale and a speed of the bank make a plane X[f, angle]. One linear
readout, alike under rotation and mirroring, turns planes into log posteriors over O speeds and A directions:

    L[o, a] = sum over q of Re(sum over f of W[q, f, o] X^[f, q] e^(i q a)) + sum over s with rows of B[s, o] + B0[o]

with X^ the Fourier transform of X over angles, real W, and few q. Contrast normalisation is X's second half.
Additions are in order of classes, of f, and of (q, real before imaginary part).

Time adds up, S <- rho S + L, N <- rho N + 1, and so do neighbours, in four rounds, all tiles at once:

    A <- S + lambda sum of A_nb,  NA <- N + lambda sum of NA_nb   over those of the four that answered and agree,
    agree:  max a + max a_nb - max (a + a_nb) < 6 nats,  a = A / sqrt(NA);    posterior = softmax(a / TEMPER)

A view that turns or comes nearer moves each tile otherwise. The field of a first pass says how it changes from tile
to tile (:mod:`kernels.motion.velocity_gradient`), and up to four passes more, each from S, move what neighbours say
by so many cells before it is compared and added, until that changes no more. What tiles and windows say is not
independent, so that a sum of it is too sure: TEMPER is what makes the posterior tell sure rows from surer ones.

Where neighbours are missing or do not agree, what a tile says is of another place than its middle; it is told with
the row: the mean place, weighted with N, of the tiles that had part in it and were not moved.

Sums of rows are integers, L is float32 in one order of additions, and everything behind it is in 1/256 nat, so that
answers depend neither on how a stream was cut nor on the order of tiles. After Grimaldi & Perrinet (Biological
Cybernetics 2023) for the bank, Heeger (Visual Neuroscience 1992) for nu; the rest is described in docs/motion.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels._lanes import LANES, padded, sum_scaled
from kernels.columns import F32, F64, I64, XY
from kernels.motion import velocity_gradient

I32 = NDArray[np.int32]

NAT = 256
"""Units of a log posterior."""
RHO, LAMBDA = 179, 128
"""In 1/256: what a window leaves of the last one's sum, and what a neighbour counts."""
ROUNDS = 4
PASSES = 4
"""Along the field's gradient, at most, after the first."""
AGREE = 6 * NAT
TEMPER = 2.0
_LONGEST = round(12 * TEMPER * NAT)
"""Cells this far below the largest have no part in a posterior."""
_IDLE = 64
"""Windows without an event after which nothing is left of what was."""
_SHRINK, _FLOOR = 4.0, 0.3
_EXP = np.exp(-np.arange(_LONGEST + 1) / (TEMPER * NAT))
_NEAR_ANGLES, _NEAR_SPEEDS = 3, 3
MOST_PLANES = 2048
"""Planes that a readout may have."""
_NUMBERS = np.arange(MOST_PLANES, dtype=np.int32)
_LOUDEST = np.float32(2**22)
"""What a window says counts up to this, 16,384 nats, so that no sum overflows."""


class Readout(NamedTuple):
    """A trained readout as the kernel takes it; :func:`readout` makes it.

    Attributes:
        weight: W, flat float32 rows of whole vectors over o, one per (q, f); f = (set, scale, speed of the bank).
        has: B [s, o] float32.
        bias: B0 [o] float32.
        forward: flat float32, rows (cos, -sin of each q, side by side), one per angle.
        backward: flat float32, rows over angles, one per (q, (cos, -sin)).
        order: [class] int64, classes by their speed.
        place: [class] int32, place on the grid of angles, in that order.
        first: [speed of the bank + 1] int64, where the classes of each begin in that order.
        log2_speed: [o] float64, of each cell, px/ms.
        frequencies: how many q there are.
        angles: of the grid.
        scale: the bank's.
    """

    weight: F32
    has: F32
    bias: F32
    forward: F32
    backward: F32
    order: I64
    place: I32
    first: I64
    log2_speed: F64
    frequencies: int
    angles: int
    scale: float


def readout(
    weight: F32, has: F32, bias: F32, angle: I64, speed: I64, log2_speed: F64, angles: int, scale: float
) -> Readout:  # fmt: skip
    """Lay out W [q, f, o], B [s, o] and B0 [o] for the kernel.

    Args:
        weight: see above.
        has: see above.
        bias: see above.
        angle: [class], place of each class of the bank on the grid.
        speed: [class], which of the bank's speeds.
        log2_speed: [o] of the cells.
        angles: of the grid, a multiple of 8.
        scale: the bank's.

    Raises:
        ValueError: ``angles`` is no multiple of 8.
    """
    if angles % LANES:
        raise ValueError(f"directions: a multiple of {LANES}, not {angles}")
    count, _, cells = weight.shape
    table = np.zeros((*weight.shape[:2], padded(cells)), np.float32)
    table[:, :, :cells] = weight
    turn = 2 * np.pi / angles * np.outer(np.arange(angles), np.arange(count))
    forward = np.zeros((angles, padded(2 * count)), np.float32)
    forward[:, : 2 * count : 2], forward[:, 1 : 2 * count : 2] = np.cos(turn), -np.sin(turn)
    order = np.argsort(speed, kind="stable")
    first = np.searchsorted(speed[order], np.arange(int(speed.max(initial=0)) + 2))
    backward = np.ascontiguousarray(forward[:, : 2 * count].T)
    return Readout(
        table.reshape(-1), has.astype(np.float32), bias.astype(np.float32), forward.reshape(-1), backward.reshape(-1),
        order, angle[order].astype(np.int32), first, log2_speed, count, angles, scale,
    )  # fmt: skip


class Belief(NamedTuple):
    """What tiles know so far; updated in place.

    Attributes:
        logs: S [tile, o * a] int32, 1/256 nat.
        weight: N [tile] int64, 1/256.
        idle: [tile] int64, windows since the last that answered.
    """

    logs: I32
    weight: I64
    idle: I64


def new_belief(tiles: int, cells: int) -> Belief:
    """Nothing is known."""
    return Belief(
        np.zeros((tiles, cells), np.int32), np.zeros(tiles, np.int64), np.full(tiles, _IDLE, np.int64)
    )


class Field(NamedTuple):
    """Rows of the tiles that answered, in raster order.

    Attributes:
        tile: number of the tile.
        vx: px/ms; so is ``vy``.
        vy: see above.
        mass: of the posterior within 3 directions and 3 speeds of the largest cell.
        centre: [tile, 2], (column, row) in tiles, of the place that it speaks of.
        spread: of the velocity under the posterior: [minor, major] deviation over the length of its mean.
    """

    tile: I64
    vx: F64
    vy: F64
    mass: F64
    centre: F64
    spread: F64


def fade(belief: Belief, windows: int) -> None:
    """So many windows went by in which nothing was said."""
    np.minimum(belief.idle + windows, _IDLE, out=belief.idle)


def count(x: XY, y: XY, side: int, across: int, events: I64) -> None:
    """Add the events of each tile [tile] of ``side`` pixels, ``across`` in a row."""
    _count(x, y, side, across, events)


@kernel
def _count(x: XY, y: XY, side: int, across: int, events: I64) -> None:
    for i in range(x.size):
        events[np.int64(y[i]) // side * across + np.int64(x[i]) // side] += 1


def advance(
    sums: I64, rows: I64, added: I64, events: I64, least: int, belief: Belief, readout: Readout, across: int
) -> Field:  # fmt: skip
    """Close a window.

    Args:
        sums: integer logits [scale, tile, class], summed over the window's rows.
        rows: how many [scale, tile].
        added: of how many of them logits were added [scale, tile].
        events: [tile] in the window.
        least: tiles with fewer stay silent.
        belief: updated.
        readout: see its class.
        across: tiles in a row.
    """
    tiles, cells = belief.logs.shape
    speaks = np.flatnonzero((events >= least) & (rows.sum(axis=0) > 0))
    n = len(speaks)
    number = np.full(tiles, -1, np.int64)
    number[speaks] = np.arange(n)
    own, own_weight = np.empty((n, cells), np.int32), np.empty(n, np.int64)
    _sum_up(
        sums,
        rows,
        added,
        speaks,
        belief.logs,
        belief.weight,
        belief.idle,
        readout,
        *_room(sums, readout),
        own,
        own_weight,
    )
    fade(belief, 1)
    belief.idle[speaks] = 0
    middles = np.stack([speaks % across, speaks // across], axis=1).astype(np.float64)
    alone = _Joint(own, own_weight, middles)
    where = _Places(speaks, number, across, readout.angles)
    joint = alone
    for _ in range(ROUNDS):
        joint = _round(alone, joint, where, None)
    out, before = _decoded(joint, readout, speaks), np.zeros((n, velocity_gradient.SIDES, 2), np.int64)
    for _ in range(PASSES):
        steps = velocity_gradient.steps(out.vx, out.vy, out.mass, speaks, number, across, readout.angles)
        if np.array_equal(steps, before):
            break  # it would say the same again
        joint, before = alone, steps
        for _ in range(ROUNDS):
            joint = _round(alone, joint, where, steps)
        out = _decoded(joint, readout, speaks)
    return out


class _Joint(NamedTuple):
    """A, NA and the place that they speak of: [n, o * a], [n], [n, 2]."""

    logs: I32
    weight: I64
    centre: F64


class _Places(NamedTuple):
    """The tiles that answered [n], which of them a tile is, tiles in a row, and directions of the grid."""

    speaks: I64
    number: I64
    across: int
    angles: int


def _round(alone: _Joint, joint: _Joint, where: _Places, steps: I64 | None) -> _Joint:
    """What a tile and its neighbours say together; ``steps`` is how they move otherwise."""
    even = np.empty_like(joint.logs)
    _even(joint.logs, joint.weight, even)
    if steps is None:
        steps = np.zeros((len(where.speaks), velocity_gradient.SIDES, 2), np.int64)
    after = _Joint(alone.logs.copy(), alone.weight.copy(), alone.centre.copy())
    _join(
        joint.logs, joint.weight, joint.centre, even, where.speaks, where.number, where.across, where.angles, steps,
        AGREE, LAMBDA, *after,
    )  # fmt: skip
    return after


def _decoded(joint: _Joint, readout: Readout, speaks: I64) -> Field:
    n, turn = len(speaks), 2 * math.pi / readout.angles * np.arange(readout.angles)
    out = Field(speaks, np.empty(n), np.empty(n), np.empty(n), joint.centre, np.empty((n, 2)))
    _decode(
        joint.logs, joint.weight, np.cos(turn), np.sin(turn), readout.log2_speed, _EXP, out.vx, out.vy, out.mass,
        out.spread,
    )  # fmt: skip
    return out


def logs_of(sums: I64, rows: I64, added: I64, readout: Readout) -> F32:
    """L [tile, o, a] of tiles [scale, tile, class], without time and neighbours."""
    n, angles, speeds = sums.shape[1], readout.angles, len(readout.bias)
    out = np.empty((n, speeds * angles), np.float32)
    room = _room(sums, readout)
    for k in range(n):
        _read(sums, rows, added, k, readout, *room, out[k])
    return out.reshape(n, speeds, angles)


def _room(sums: I64, readout: Readout) -> tuple[F32, F32, F32]:
    """Room for one tile."""
    f, count, cells = 2 * sums.shape[0] * (len(readout.first) - 1), readout.frequencies, len(readout.bias)
    sides = padded(cells) + max(f, 2 * count) + 2 * count * cells
    return (
        np.zeros(sums.shape[2], np.float32), np.zeros(f * padded(2 * count), np.float32), np.zeros(sides, np.float32)
    )  # fmt: skip


@kernel
def _read(
    sums: I64, rows: I64, added: I64, k: int, readout: Readout, z: F32, planes: F32, sides: F32, out: F32
) -> None:  # fmt: skip
    """L of one tile; ``z`` [class], ``planes`` [f, (q, part)], ``sides`` and what they hold are room."""
    scales, classes, count, angles = sums.shape[0], sums.shape[2], readout.frequencies, readout.angles
    cells, speeds = readout.bias.size, readout.first.size - 1
    half = scales * speeds
    # Rows of the tables, filled up to whole vectors.
    wide, tall = readout.forward.size // angles, readout.weight.size // (2 * half * count)
    planes[:] = np.float32(0)
    total = 0.0
    for s in range(scales):
        n = rows[s, k]
        if n == 0:
            continue
        factor = math.sqrt(n / (n + _SHRINK)) * readout.scale / added[s, k]
        for i in range(classes):
            z[i] = np.float32(factor * sums[s, k, readout.order[i]])
        for c in range(classes):
            total += (factor * sums[s, k, c]) ** 2
        for j in range(speeds):
            at = (s * speeds + j) * wide
            sum_scaled(
                planes,
                at,
                readout.forward,
                0,
                readout.place,
                z,
                0,
                readout.first[j],
                readout.first[j + 1],
                wide,
            )
    divisor = np.float32(1.0 / (_FLOOR + math.sqrt(total / (scales * classes))))
    for i in range(half * wide):
        planes[half * wide + i] = planes[i] * divisor
    most = max(2 * half, 2 * count)
    lines, values, numbers = sides[:tall], sides[tall : tall + most], sides[tall + most :]
    for q in range(count):
        for part in range(2):
            for f in range(2 * half):
                values[f] = planes[f * wide + 2 * q + part]
            lines[:] = np.float32(0)
            sum_scaled(lines, 0, readout.weight, q * 2 * half * tall, _NUMBERS, values, 0, 0, 2 * half, tall)
            for o in range(cells):
                numbers[o * 2 * count + 2 * q + part] = lines[o]
    for o in range(cells):
        flat = readout.bias[o]
        for s in range(scales):
            if rows[s, k] > 0:
                flat += readout.has[s, o]
        for a in range(angles):
            out[o * angles + a] = flat
        for i in range(2 * count):
            values[i] = numbers[o * 2 * count + i]
        sum_scaled(out, o * angles, readout.backward, 0, _NUMBERS, values, 0, 0, 2 * count, angles)


@kernel
def _sum_up(
    sums: I64, rows: I64, added: I64, speaks: I64, logs: I32, weight: I64, idle: I64, readout: Readout, z: F32,
    planes: F32, sides: F32, own: I32, own_weight: I64,
) -> None:  # fmt: skip
    """S and N of the tiles that answer."""
    cells = logs.shape[1]
    fresh = np.empty(cells, np.float32)
    for i in range(speaks.size):
        k = speaks[i]
        _read(sums, rows, added, k, readout, z, planes, sides, fresh)
        for _ in range(idle[k] + 1 if idle[k] < _IDLE else 0):
            for j in range(cells):
                logs[k, j] = (logs[k, j] * RHO + NAT // 2) >> 8
            weight[k] = (weight[k] * RHO + NAT // 2) >> 8
        if idle[k] >= _IDLE:
            for j in range(cells):
                logs[k, j] = 0
            weight[k] = 0
        for j in range(cells):
            said = min(max(fresh[j] * np.float32(NAT), -_LOUDEST), _LOUDEST)
            logs[k, j] += np.int32(math.floor(said + np.float32(0.5)))
            own[i, j] = logs[k, j]
        weight[k] += NAT
        own_weight[i] = weight[k]


@kernel
def _even(joint: I32, weight: I64, even: I32) -> None:
    """a = A / sqrt(NA), in 1/256 nat."""
    for i in range(joint.shape[0]):
        factor = np.float32(1.0 / math.sqrt(weight[i] / NAT))
        for j in range(joint.shape[1]):
            even[i, j] = np.int32(math.floor(np.float32(joint[i, j]) * factor + np.float32(0.5)))


@kernel
def _moved(row: I32, speeds: int, directions: int, angles: int, out: I32) -> None:
    """Each cell as that which lies so many speeds and directions further; beyond the last speed, the last."""
    count = row.size // angles
    turn = directions % angles
    for o in range(count):
        at, to = o * angles, min(max(o + speeds, 0), count - 1) * angles
        for a in range(angles - turn):
            out[at + a] = row[to + a + turn]
        for a in range(angles - turn, angles):
            out[at + a] = row[to + a + turn - angles]


@kernel
def _join(
    said: I32, weight: I64, centre: F64, even: I32, speaks: I64, number: I64, across: int, angles: int, steps: I64,
    agree: int, share: int, after: I32, after_weight: I64, after_centre: F64,
) -> None:  # fmt: skip
    """Add what the neighbours say that agree; ``after`` and the like begin as a tile's own."""
    n, cells = said.shape
    top, room, own = np.empty(n, np.int32), np.empty(cells, np.int32), after_centre.copy()
    for i in range(n):
        most = even[i, 0]
        for j in range(cells):
            most = max(most, even[i, j])
        top[i] = most
    for i in range(n):
        k = speaks[i]
        for side in range(4):
            if side == 0:
                nb = k - 1 if k % across > 0 else -1
            elif side == 1:
                nb = k + 1 if k % across < across - 1 else -1
            elif side == 2:
                nb = k - across
            else:
                nb = k + across
            if nb < 0 or nb >= number.size or number[nb] < 0:
                continue
            m = number[nb]
            speeds, directions = steps[i, side, 0], steps[i, side, 1]
            is_moved = speeds != 0 or directions != 0
            if is_moved:
                _moved(even[m], speeds, directions, angles, room)
            there = room if is_moved else even[m]
            both = even[i, 0] + there[0]
            for j in range(cells):
                both = max(both, even[i, j] + there[j])
            if top[i] + top[m] - both < agree:
                if is_moved:
                    _moved(said[m], speeds, directions, angles, room)
                there = room if is_moved else said[m]
                for j in range(cells):
                    after[i, j] += (there[j] * share + NAT // 2) >> 8
                more = (weight[m] * share + NAT // 2) >> 8
                after_weight[i] += more
                # What was moved to where this tile lies speaks of there.
                for axis in range(2):
                    place = centre[m, axis] + (own[i, axis] - own[m, axis] if is_moved else 0.0)
                    after_centre[i, axis] += (place - after_centre[i, axis]) * (more / after_weight[i])


@kernel
def _decode(
    joint: I32, weight: I64, cosine: F64, sine: F64, log2_speed: F64, table: F64, vx: F64, vy: F64, mass: F64,
    spread: F64,
) -> None:  # fmt: skip
    """The posterior's largest cell, its neighbourhood's mean, and how far velocities spread."""
    angles, speeds = cosine.size, log2_speed.size
    share = np.empty(speeds * angles, np.float64)
    even = np.empty(speeds * angles, np.int32)
    for i in range(joint.shape[0]):
        factor = np.float32(1.0 / math.sqrt(weight[i] / NAT))
        peak = 0
        for j in range(even.size):
            even[j] = np.int32(math.floor(np.float32(joint[i, j]) * factor + np.float32(0.5)))
            if even[j] > even[peak]:
                peak = j
        total = 0.0
        mx, my, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0
        for o in range(speeds):
            v = 2.0 ** log2_speed[o]
            for a in range(angles):
                j = o * angles + a
                below = even[peak] - even[j]
                share[j] = table[below] if below <= _LONGEST else 0.0
                if share[j] > 0:
                    x, y = v * cosine[a], v * sine[a]
                    total += share[j]
                    mx += share[j] * x
                    my += share[j] * y
                    xx += share[j] * x * x
                    yy += share[j] * y * y
                    xy += share[j] * x * y
        o0, a0 = peak // angles, peak % angles
        near, log2, u, w = 0.0, 0.0, 0.0, 0.0
        for o in range(max(0, o0 - _NEAR_SPEEDS), min(speeds, o0 + _NEAR_SPEEDS + 1)):
            for step in range(-_NEAR_ANGLES, _NEAR_ANGLES + 1):
                a = (a0 + step) % angles
                p = share[o * angles + a]
                near += p
                log2 += p * log2_speed[o]
                u += p * cosine[a]
                w += p * sine[a]
        length = math.sqrt(u * u + w * w)
        speed = 2.0 ** (log2 / near)
        vx[i], vy[i] = speed * u / length, speed * w / length
        mass[i] = near / total
        mx, my = mx / total, my / total
        xx, yy, xy = xx / total - mx * mx, yy / total - my * my, xy / total - mx * my
        middle, off = (xx + yy) / 2, math.sqrt(max(((xx - yy) / 2) ** 2 + xy * xy, 0.0))
        norm = max(speed, 1e-9)
        spread[i, 0] = math.sqrt(max(middle - off, 0.0)) / norm
        spread[i, 1] = math.sqrt(max(middle + off, 0.0)) / norm
