"""Motif sums over the lists of tiles: for sparse input.

For each voxel that is asked for, the lists of the tiles that its window touches are filtered into two lists of rows
of the weight table, one a polarity (:mod:`kernels.motifs._windows`); the rows are added in 16-bit lanes, and the
winner is found without a branch per class (:mod:`kernels.motifs._sums16`). The work is the number of active inputs
of those tiles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import inlined, kernel, trailing_zeros
from kernels.columns import F32, I64, XY, P
from kernels.motifs._sums16 import LANES, decide, sum_short
from kernels.motifs._windows import SIDE_BITS, SPARE, collect
from kernels.motifs.history import OPEN, History
from kernels.motifs.taps import Taps
from kernels.motifs.tile_lists import HEAD, LAST, START, TAIL, Tiles

I32 = NDArray[np.int32]
U16 = NDArray[np.uint16]


class Scratch(NamedTuple):
    """Room for one voxel; holds no state that answers depend on.

    Attributes:
        dense: [1] bool, whether the last bin was one for :mod:`kernels.motifs.row_lists`.
        codes_on: uint16, numbers of rows of the table.
        codes_off: likewise.
        on: [lanes] int32, sums of ON.
        off: likewise of OFF.
        logits: [class] int32.
    """

    dense: P
    codes_on: U16
    codes_off: U16
    on: I32
    off: I32
    logits: I32


def new_scratch(bank: Taps) -> Scratch:
    """Room for a voxel of this bank."""
    short = bank.short
    most = (short.rows if short.usable else 0) + SPARE
    lanes = short.passes * 32 * len(short.shape) + LANES
    return Scratch(
        np.zeros(1, np.bool_),
        np.zeros(most, np.uint16), np.zeros(most, np.uint16), np.zeros(lanes, np.int32), np.zeros(lanes, np.int32),
        np.zeros(len(short.bias), np.int32),
    )  # fmt: skip


@inlined
def sums_at(
    row: int, column: int, now: int, entries: U16, meta: I64, across: int, scratch: Scratch, bank: Taps
) -> tuple[int, int]:
    """Sum the window whose padded corner is (column, row); (the winner, active inputs added up).

    The sums of all classes are in ``scratch.logits`` then.
    """
    short, height, width, delays = bank.short, bank.height, bank.width, bank.delays
    counts = 0
    for tile_y in range(row >> SIDE_BITS, (row + height - 1 >> SIDE_BITS) + 1):
        for tile_x in range(column >> SIDE_BITS, (column + width - 1 >> SIDE_BITS) + 1):
            k = tile_y * across + tile_x
            if now - meta[k, LAST] < delays:
                first = meta[k, START]
                counts = collect(
                    entries, first + meta[k, HEAD], first + meta[k, TAIL], now,
                    (tile_x << SIDE_BITS) - column, (tile_y << SIDE_BITS) - row, (width, height, delays, short.r2),
                    scratch.codes_on, scratch.codes_off, counts,
                )  # fmt: skip
    n_on, n_off = counts & 0xFFFFFFFF, counts >> 32
    lanes, parts = 32 * len(short.shape), 1 if bank.contrast_flip else 2
    other = 0 if bank.contrast_flip else short.rows + 1
    for turn in range(short.passes):
        base, at = turn * parts * (short.rows + 1), turn * lanes
        sum_short(
            short.table,
            scratch.codes_on,
            n_on,
            base + other,
            short.rows,
            short.safe,
            scratch.on,
            at,
            short.shape,
        )
        sum_short(
            short.table, scratch.codes_off, n_off, base, short.rows, short.safe, scratch.off, at, short.shape
        )
    winner = decide(
        scratch.on, scratch.off, short.bias, scratch.logits, bank.bias.size, np.int64(bank.contrast_flip)
    )
    return winner, n_on + n_off


@kernel
def evaluate(
    history: History, tiles: Tiles, scratch: Scratch, bank: Taps, n: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> tuple[int, int]:  # fmt: skip
    """Evaluate the targets of the open bin in raster order; (rows answered, active inputs added up)."""
    targets, rows, now = history.targets, history.rows, history.bins[OPEN]
    entries, meta, across, logits = tiles.entries, tiles.meta, tiles.across, scratch.logits
    with_evidence, added = out_evidence.shape[0] > 0, 0
    for block in range(rows.size):
        waiting = rows[block]
        while waiting != np.uint64(0):
            row = block * 64 + trailing_zeros(waiting)
            waiting &= waiting - np.uint64(1)
            for word in range(targets.shape[1]):
                bits = targets[row, word]
                while bits != np.uint64(0):
                    column = word * 64 + trailing_zeros(bits)
                    bits &= bits - np.uint64(1)
                    winner, inputs = sums_at(row, column, now, entries, meta, across, scratch, bank)
                    added += inputs
                    if with_evidence:
                        for c in range(bank.bias.size):
                            out_evidence[n, c] = logits[c]
                    out_bin[n], out_x[n], out_y[n] = now, column, row
                    out_label[n], out_total[n] = winner, logits[winner]
                    n += 1
    return n, added
