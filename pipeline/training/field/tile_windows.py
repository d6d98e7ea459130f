"""What a bank sees of a scene, tile by tile and window by window, with where it really moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.columns import F64, I64
from kernels.motifs import tile_evidence
from kernels.motifs.taps import Taps
from pipeline.training.rendering.scenes import NO_LAYER, Take

BINS_US = (16_000, 8_000, 4_000, 2_000, 1_000, 500, 250, 125)
"""Bin widths: at m ms the bank's speeds are divided by m."""
TILE, WINDOW_US, LEAST = 16, 20_000, 10
_ONE_LAYER = 0.8
"""A tile is of a layer if so many of its events come from it."""


@dataclass(frozen=True)
class Window:
    """A window of 20 ms.

    Attributes:
        number: it ends at (number + 1) times its length.
        sums: [scale, tile, class] int64.
        rows: [scale, tile] int64; so is ``added``.
        added: see :mod:`kernels.motifs.tile_evidence`.
        events: [tile] int64.
        moving: [tile] int64, events of anything that moves.
        layer: [tile], of most events; NO_LAYER where there are too few, or of several.
        vx: [tile] px/ms, of that layer at the middle of its events; so is ``vy``.
        vy: see above.
    """

    number: int
    sums: I64
    rows: I64
    added: I64
    events: I64
    moving: I64
    layer: NDArray[np.int8]
    vx: F64
    vy: F64


def windows(take: Take, bank: Taps, every: int) -> list[Window]:
    """All whole windows in which anything moved."""
    scene = take.scene
    across, down = -(-scene.width // TILE), -(-scene.height // TILE)
    scales = tile_evidence.new_scales(scene.width, scene.height, bank, BINS_US, every, TILE)
    until_us = take.start_us + int(scene.duration_ms * 1000)
    found, at = list[Window](), 0
    for number in range(until_us // WINDOW_US):
        end_us = (number + 1) * WINDOW_US
        stop = int(np.searchsorted(take.t, end_us))
        part = slice(at, stop)
        tile_evidence.advance(scales, take.t[part], take.x[part], take.y[part], take.p[part], end_us)
        if end_us > take.start_us:
            sums, rows, added = scales.sums.copy(), scales.rows.copy(), scales.added.copy()
            found.append(Window(number, sums, rows, added, *truth(take, part, across, across * down)))
        tile_evidence.empty(scales)
        at = stop
    return found


def truth(take: Take, part: slice, across: int, tiles: int) -> tuple[I64, I64, NDArray[np.int8], F64, F64]:
    """(events, moving, layer, vx, vy) per tile of a part of a take; see :class:`Window`."""
    x, y = take.x[part].astype(np.int64), take.y[part].astype(np.int64)
    k, ms = y // TILE * across + x // TILE, (take.t[part] - take.start_us) / 1000
    events = np.bincount(k, minlength=tiles)
    layer, vx, vy = np.full(tiles, NO_LAYER, np.int8), np.zeros(tiles), np.zeros(tiles)
    most = np.zeros(tiles, np.int64)
    for number, one in enumerate(take.scene.layers):
        if not one.moves:
            continue
        own = take.layer[part] == number
        n = np.bincount(k[own], minlength=tiles)
        u, v = one.movement.velocity(x[own].astype(float), y[own].astype(float), ms[own])
        wins = (n > most) & (n >= _ONE_LAYER * events) & (events >= LEAST)
        share = np.maximum(n, 1)
        mean_u = np.bincount(k[own], u, tiles) / share
        mean_v = np.bincount(k[own], v, tiles) / share
        layer[wins], vx[wins], vy[wins] = number, mean_u[wins], mean_v[wins]
        most = np.maximum(most, n)
    return events, np.bincount(k[take.layer[part] != NO_LAYER], minlength=tiles), layer, vx, vy
