"""A motion field as its equations say it: dense arrays, tile after tile."""

import math

import numpy as np

from kernels.motion import velocity_gradient  # which has a twin of its own

F = np.float32


def logs(sums, rows, added, readout):
    """L [o, a] of one tile [scale, class], in the order of additions that the kernel promises.

    ``readout`` is the parts: weight [q, f, o], has, bias, angle, speed, angles, scale.
    """
    scales, classes = sums.shape
    count, _, speeds = readout.weight.shape
    planes = readout.weight.shape[1] // (2 * scales)
    grid = 2 * np.pi / readout.angles * np.outer(np.arange(readout.angles), np.arange(count))
    cosine, sine = np.cos(grid).astype(F), np.sin(grid).astype(F)
    z = np.zeros((scales, classes), F)
    total = 0.0
    for s in range(scales):
        for c in range(classes):
            if rows[s]:
                exact = math.sqrt(rows[s] / (rows[s] + 4.0)) * readout.scale / added[s] * sums[s, c]
                z[s, c] = exact
                total += exact**2
    nu = F(1.0 / (0.3 + math.sqrt(total / (scales * classes))))
    x = np.zeros((2, 2 * scales * planes, count), F)  # real and imaginary
    for s in range(scales):
        for c in range(classes):
            turn = np.stack([cosine[readout.angle[c]], -sine[readout.angle[c]]])
            x[:, s * planes + readout.speed[c]] += z[s, c] * turn
    x[:, scales * planes :] = x[:, : scales * planes] * nu
    flat = readout.bias.copy()
    for s in range(scales):
        if rows[s]:
            flat += readout.has[s]
    out = np.repeat(flat[:, None], readout.angles, axis=1)
    for q in range(count):
        sides = np.zeros((2, speeds), F)
        for f in range(x.shape[1]):
            sides += readout.weight[q, f][None] * x[:, f, q][:, None]
        out += sides[0][:, None] * cosine[:, q]
        out += sides[1][:, None] * -sine[:, q]
    return out


def windows(series, least, readout, across, rounds, agree, passes):
    """For each (sums, rows, added, events) what is said: {tile: (vx, vy, mass, and its place in tiles)}, and the joint posteriors' integers."""
    tiles = series[0][1].shape[1]
    state = {}
    said = []
    for sums, rows, added, events in series:
        for k, (logs_, weight) in state.items():
            state[k] = ((logs_ * 179 + 128) >> 8, (weight * 179 + 128) >> 8)
        speaks = [k for k in range(tiles) if events[k] >= least and rows[:, k].sum() > 0]
        for k in speaks:
            before, weight = state.get(k, (0, 0))
            loud = np.clip(logs(sums[:, k], rows[:, k], added[:, k], readout) * F(256), F(-(2**22)), F(2**22))
            fresh = np.floor(loud + F(0.5)).astype(np.int64)
            state[k] = (before + fresh, weight + 256)
        own = {k: state[k] for k in speaks}
        middles = {k: np.array([k % across, k // across], float) for k in speaks}
        steps = None
        for _ in range(1 + passes):
            joint, centre = own, middles
            for _ in range(rounds):
                joint, centre = together(own, middles, joint, centre, steps, across, tiles, agree)
            told = {k: decoded(evened(*one), readout) for k, one in joint.items()}
            number = np.full(tiles, -1)
            number[speaks] = np.arange(len(speaks))
            columns = [np.array([told[k][i] for k in speaks], float) for i in range(3)]
            found = velocity_gradient.steps(
                *columns, np.array(speaks, np.int64), number, across, readout.angles
            )
            steps = {(k, side): found[i, side] for i, k in enumerate(speaks) for side in range(4)}
        said.append({k: (*told[k], *centre[k]) for k in joint})
    return said


def together(own, middles, joint, centre, steps, across, tiles, agree):
    """One round."""
    even = {k: evened(*one) for k, one in joint.items()}
    after, moved_to = {}, {}
    for k, alone in own.items():
        total, weight = alone
        place = weight * middles[k]
        for side, nb in neighbours(k, across, tiles):
            step = (0, 0) if steps is None else steps[k, side]
            if (
                nb in joint
                and even[k].max() + even[nb].max() - (even[k] + moved(even[nb], *step)).max() < agree
            ):
                total = total + ((moved(joint[nb][0], *step) * 128 + 128) >> 8)
                more = (joint[nb][1] * 128 + 128) >> 8
                weight += more
                place = place + more * (centre[nb] + (middles[k] - middles[nb] if any(step) else 0))
        after[k], moved_to[k] = (total, weight), place / weight
    return after, moved_to


def moved(logs_, speeds, directions):
    rows = np.clip(np.arange(len(logs_)) + speeds, 0, len(logs_) - 1)
    return np.roll(logs_[rows], -directions, axis=1)


def neighbours(k, across, tiles):
    """(side, tile): left, right, above, below."""
    sides = [(0, k - 1)] if k % across > 0 else []
    if k % across < across - 1:
        sides.append((1, k + 1))
    return [(side, n) for side, n in (*sides, (2, k - across), (3, k + across)) if 0 <= n < tiles]


def evened(total, weight):
    return np.floor(total.astype(F) * F(1.0 / math.sqrt(weight / 256)) + F(0.5)).astype(np.int64)


def decoded(even, readout):
    """(vx, vy, mass)."""
    speeds, angles = even.shape
    share = np.where(even.max() - even <= 24 * 256, np.exp((even - even.max()) / (2 * 256)), 0.0)
    o0, a0 = np.unravel_index(even.argmax(), even.shape)
    near = [
        (o, a % angles) for o in range(max(0, o0 - 3), min(speeds, o0 + 4)) for a in range(a0 - 3, a0 + 4)
    ]
    p = np.array([share[cell] for cell in near])
    turn = np.array([2 * math.pi * a / angles for _, a in near])
    log2 = (p * readout.log2_speed[[o for o, _ in near]]).sum() / p.sum()
    u, v = (p * np.cos(turn)).sum(), (p * np.sin(turn)).sum()
    return 2**log2 * u / math.hypot(u, v), 2**log2 * v / math.hypot(u, v), p.sum() / share.sum()
