"""Two classical ways to find where tiles move, beside ours on the same tiles: ``python -m tests.benchmarks.motion_peers [--write]``.

A third of the scenes of :mod:`tests.benchmarks.motion_field`, drawn at random, up to 6 tiles each; some 5 minutes on two cores.

- Plane fits (Benosman et al., IEEE TNNLS 2014): around each event a plane through the newest events of its polarity on 5 x 5
  pixels, within the time in which 4 pixels pass, whose gradient is the movement across the edge; the tile's velocity is the least
  squares over its events. It is told the scene's true speed.
- Contrast maximisation (Gallego, Rebecq & Scaramuzza, CVPR 2018): of 24 directions x 75 speeds the one that makes the sharpest
  image of the last 600 events on 32 x 32 pixels around the tile.
"""

from __future__ import annotations

import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from kernels._jit import kernel
from pipeline.sensor import Sensor
from pipeline.training.field import scores
from pipeline.training.field.scores import Told
from pipeline.training.field.tile_windows import TILE, WINDOW_US, truth
from pipeline.training.rendering.scenes import NO_LAYER
from tests.benchmarks.contrast import contrasts
from tests.benchmarks.motion_field import pipelines, rows_of, scene_of
from tests.benchmarks.pages import write

TILES, NEWEST, SIDE, SPAN_PX = 6, 600, 32, 4
DIRECTIONS = np.arange(24) * (2 * math.pi / 24)
SPEEDS = 0.0125 * 2 ** (np.arange(75) * (math.log2(4.5 / 0.0125) / 74))


@kernel
def _plane_fits(t, x, y, p, width, height, first, stop, span_us, tile_x, tile_y, tile, sums):
    """Sums of g g^T and g over events [first, stop) inside a tile, g the gradient of the plane."""
    last = np.full((2, height, width), -(2**60), np.int64)
    used = 0
    for k in range(stop):
        pol = int(p[k])
        # The first event of a burst marks the edge; those that follow at once come from the same step of brightness.
        fresh = t[k] - last[pol, y[k], x[k]] > span_us // 3
        if fresh:
            last[pol, y[k], x[k]] = t[k]
        if k < first or not fresh:
            continue
        if not (tile_x <= x[k] < tile_x + tile and tile_y <= y[k] < tile_y + tile):
            continue
        n, sx, sy, st, sxx, sxy, syy, sxt, syt = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                px, py = int(x[k]) + dx, int(y[k]) + dy
                if 0 <= px < width and 0 <= py < height and t[k] - last[pol, py, px] <= span_us:
                    at = (last[pol, py, px] - t[k]) * 1e-3
                    n, sx, sy, st = n + 1, sx + dx, sy + dy, st + at
                    sxx, sxy, syy = sxx + dx * dx, sxy + dx * dy, syy + dy * dy
                    sxt, syt = sxt + dx * at, syt + dy * at
        if n < 5:
            continue
        a, b, c = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
        d, e = sxt - sx * st / n, syt - sy * st / n
        det = a * c - b * b
        if det < 1e-6:
            continue
        gx, gy = (c * d - b * e) / det, (a * e - b * d) / det
        steep = math.sqrt(gx * gx + gy * gy)
        if steep < 1e-6:
            continue
        # Every event says g v = 1, g in ms/px.
        sums[0] += gx * gx
        sums[1] += gx * gy
        sums[2] += gy * gy
        sums[3] += gx
        sums[4] += gy
        used += 1
    return used


def by_planes(columns, width, height, start, stop, speed, left, top):
    sums = np.zeros(5)
    t, x, y, p = columns
    began = int(np.searchsorted(t, t[start] - int(SPAN_PX * 1e3 / speed) - 1)) if start < len(t) else start
    part = tuple(c[began:stop] for c in (t, x, y, p))
    used = _plane_fits(
        *part, width, height, start - began, stop - began, int(SPAN_PX * 1e3 / speed), left, top, TILE, sums
    )
    if used < 3:
        return None
    a, b, c, d, e = sums
    det = a * c - b * b
    if det < 1e-3 * (a + c) ** 2:  # one orientation: the movement across it
        return d / max(a + c, 1e-9), e / max(a + c, 1e-9)
    return (c * d - b * e) / det, (a * e - b * d) / det


def by_contrast(columns, stop, left, top):
    t, x, y, _ = columns
    middle = np.array([left, top]) + TILE / 2
    near = np.flatnonzero(
        (np.abs(x[:stop] - middle[0]) <= SIDE / 2) & (np.abs(y[:stop] - middle[1]) <= SIDE / 2)
    )[-NEWEST:]
    if len(near) < 10:
        return None
    angle, speed = (grid.ravel() for grid in np.meshgrid(DIRECTIONS, SPEEDS))
    vx, vy, out = speed * np.cos(angle), speed * np.sin(angle), np.empty(len(angle))
    at = (t[near] - t[near[-1]]) * 1e-3
    contrasts(at, x[near] - middle[0] + 24, y[near] - middle[1] + 24, vx, vy, np.zeros((48, 48)), out)
    best = int(out.argmax())
    return vx[best], vy[best]


def measured(number):
    """[(ours, planes, contrast, truth)] of some tiles, seconds by method, and events."""
    _, speed, name, take = scene_of(number)
    scene, columns = take.scene, (take.t, take.x, take.y, take.p)
    began = time.process_time()
    rows = rows_of(pipelines()["now"], columns, Sensor(width=scene.width, height=scene.height))
    spent, found = [time.process_time() - began, 0.0, 0.0], []
    across, down = -(-scene.width // TILE), -(-scene.height // TILE)
    wait_us = 1000 * max(scores.WAIT_MS, scores.WAIT_PX / scene.speed)
    some = rows[rows["t"] > wait_us]
    for row in some[np.random.default_rng(number).permutation(len(some))]:
        end_us, left, top = int(row["t"]), int(row["x"]), int(row["y"])
        first, stop = (int(i) for i in np.searchsorted(take.t, (end_us - WINDOW_US, end_us)))
        _, _, layer, vx, vy = truth(take, slice(first, stop), across, across * down)
        k = top // TILE * across + left // TILE
        if layer[k] == NO_LAYER:
            continue
        began = time.process_time()
        planes = by_planes(columns, scene.width, scene.height, first, stop, speed, left, top)
        spent[1] += time.process_time() - began
        began = time.process_time()
        contrast = by_contrast(columns, stop, left, top)
        spent[2] += time.process_time() - began
        found.append(
            [(row["vx"], row["vy"]), planes or (np.nan, np.nan), contrast or (np.nan, np.nan), (vx[k], vy[k])]
        )
        if len(found) == TILES:
            break
    return name, np.array(found).reshape(-1, 4, 2), spent, len(rows)


def tables(measurements):
    lines = ["| way | sensor | tiles | direction, degrees: median / 90 % | over 60 degrees | speed: median, within 30 % | "
             "end-point error | ms a tile |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for quiet in (True, False):
        own = [one for one in measurements if (one[0] != "noisy") is quiet]
        tiles = np.concatenate([one[1] for one in own])
        for i, way in enumerate(("`motion`", "plane fits, told the speed", "contrast maximisation")):
            there = np.isfinite(tiles[:, i, 0])
            vx, vy = tiles[there, i].T
            one = Told(vx, vy, np.ones(len(vx)), *tiles[there, 3].T, int((~there).sum()))
            seen = scores.summary(one)
            each = sum(one[2][i] for one in own) / (sum(one[3] for one in own) if i == 0 else len(tiles))
            lines.append(
                f"| {way} | {'`ideal`, `clean`' if quiet else '`noisy`'} | {len(vx)} of {len(tiles)} | {seen['degrees']:.1f} / "
                f"{seen['degrees_90']:.0f} | {np.mean(one.degrees > 60):.0%} | x {seen['speed']:.2f}, {seen['within_30']:.0%} | "
                f"{seen['end_point']:.2f} | {each * 1e3:.2f} |"
            )
    return [*lines, ""]


if __name__ == "__main__":
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        made = tables(list(pool.map(measured, np.random.default_rng(0).permutation(324)[:108].tolist())))
    print(*made, sep="\n")
    if "--write" in sys.argv:
        write("motion.md", "peers", made)
