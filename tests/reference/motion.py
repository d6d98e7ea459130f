"""The motion field by its definition, tile by tile."""

import math


def field(sums, scale, xs, ys, tile, directions, speeds, min_count):
    """{(tile_x, tile_y): (vx, vy, confidence)}."""
    tiles = {}
    for row, x, y in zip(sums, xs, ys, strict=True):
        powers = [math.exp((value - max(row)) * scale) for value in row]
        tiles.setdefault((x // tile, y // tile), []).append([value / sum(powers) for value in powers])
    found = {}
    for key, rows in tiles.items():
        if len(rows) < min_count:
            continue
        mass = [sum(column) for column in zip(*rows, strict=True)]
        winner = directions[mass.index(max(mass))]
        near = [c for c in range(len(mass)) if math.cos(directions[c] - winner) > 1e-9]
        weight = sum(mass[c] for c in near)
        vx = sum(mass[c] * speeds[c] * math.cos(directions[c]) for c in near) / weight
        vy = sum(mass[c] * speeds[c] * math.sin(directions[c]) for c in near) / weight
        ux = sum(m * math.cos(d) for m, d in zip(mass, directions, strict=True))
        uy = sum(m * math.sin(d) for m, d in zip(mass, directions, strict=True))
        found[key] = (vx, vy, math.hypot(ux, uy) / sum(mass))
    return found
