"""Motif sums over active inputs listed row by row: for dense input, and for banks of any size.

When a bin closes, each row of pixels that an answer depends on becomes a list of its active inputs, in order of
their column; all answers in reach of the row share it. A voxel then is 2 x height runs of such lists, and one row of
the weight table is added for each active input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, I64, U64, XY
from kernels.motifs._sums import sum_rows
from kernels.motifs.history import OPEN, History
from kernels.motifs.taps import Taps

I32 = NDArray[np.int32]

_CHUNK = 32
"""Voxels of a row that are summed together: for each row of the kernel its part of the table, which fits into
the first cache, serves all of them."""


class Lists(NamedTuple):
    """Room for the active inputs of the rows of pixels that answers depend on; holds no state.

    Attributes:
        codes: flat int32, column * delays + delay, per (row slot, polarity).
        starts: [row slot, polarity, column + 1] int32: where each column's codes begin.
        smear: [height, words] uint64, the columns that the answers of each row depend on.
        needed: [words] uint64.
        voxels: [CHUNK] int64, columns that are evaluated together.
        sums: [CHUNK * 2 * lanes] int32.
        logits: [class] int32.
    """

    codes: I32
    starts: I32
    smear: U64
    needed: U64
    voxels: I64
    sums: I32
    logits: I32


def new_lists(width: int, height: int, bank: Taps) -> Lists:
    """Room for a sensor of this size."""
    padded = width + bank.width - 1
    words = -(-padded // 64)
    return Lists(
        np.empty(bank.height * 2 * padded * bank.delays, np.int32),
        np.zeros((bank.height, 2, padded + 1), np.int32),
        np.zeros((height, words), np.uint64),
        np.zeros(words, np.uint64),
        np.empty(_CHUNK, np.int64),
        np.zeros(_CHUNK * 2 * bank.passes * 8 * len(bank.shape), np.int32),
        np.zeros(bank.classes, np.int32),
    )


@kernel
def evaluate(
    history: History, lists: Lists, bank: Taps, n: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> tuple[int, int]:  # fmt: skip
    """Evaluate the targets of the open bin in raster order; (rows answered, active inputs added up)."""
    targets, rows = history.targets, history.rows
    now = history.bins[OPEN]
    _smear(targets, rows, bank.width, lists.smear)
    added = 0
    listed = 0  # padded rows below this one have their list
    for block in range(rows.size):
        waiting = rows[block]
        while waiting != np.uint64(0):
            row = block * 64 + trailing_zeros(waiting)
            waiting &= waiting - np.uint64(1)
            for padded in range(max(listed, row), row + bank.height):
                _list_row(history, lists, bank, padded, now)
            listed = row + bank.height
            chunk = 0
            for word in range(targets.shape[1]):
                bits = targets[row, word]
                while bits != np.uint64(0):
                    lists.voxels[chunk] = word * 64 + trailing_zeros(bits)
                    bits &= bits - np.uint64(1)
                    chunk += 1
                    if chunk == _CHUNK:
                        added += _sum(lists, bank, row, chunk)
                        n = _answer(
                            lists,
                            bank,
                            now,
                            row,
                            chunk,
                            n,
                            out_bin,
                            out_x,
                            out_y,
                            out_label,
                            out_total,
                            out_evidence,
                        )
                        chunk = 0
            added += _sum(lists, bank, row, chunk)
            n = _answer(
                lists, bank, now, row, chunk, n, out_bin, out_x, out_y, out_label, out_total, out_evidence
            )
    return n, added


@kernel
def _smear(targets: U64, rows: U64, width: int, smear: U64) -> None:
    """Per row with targets, the padded columns within a kernel's width of one: bits x .. x + width - 1."""
    for block in range(rows.size):
        waiting = rows[block]
        while waiting != np.uint64(0):
            row = block * 64 + trailing_zeros(waiting)
            waiting &= waiting - np.uint64(1)
            line = smear[row]
            line[:] = np.uint64(0)
            line[: targets.shape[1]] = targets[row]
            reached = 1
            while reached < width:
                step = min(reached, width - reached)
                for word in range(line.size - 1, 0, -1):
                    line[word] |= line[word] << np.uint64(step) | line[word - 1] >> np.uint64(64 - step)
                line[0] |= line[0] << np.uint64(step)
                reached += step


@kernel
def _list_row(history: History, lists: Lists, bank: Taps, row: int, now: int) -> None:
    """List the active inputs of a padded row, those that some answer depends on."""
    needed, recent, delays = lists.needed, history.recent, bank.delays
    needed[:] = np.uint64(0)
    for y in range(max(0, row - bank.height + 1), min(history.targets.shape[0] - 1, row) + 1):
        if history.rows[y >> 6] >> np.uint64(y & 63) & np.uint64(1):
            for word in range(needed.size):
                needed[word] |= lists.smear[y, word]
    slot = row % bank.height
    room = (lists.starts.shape[2] - 1) * delays
    off, on = slot * 2 * room, (slot * 2 + 1) * room
    starts = lists.starts[slot]
    filled, last, begun = np.int64(0), np.int64(0), False
    window = ~np.uint64(0) >> np.uint64(64 - delays)
    for word in range(needed.size):
        if needed[word] == np.uint64(0):
            continue
        if not begun:
            filled, begun = word * 64 + trailing_zeros(needed[word]), True
        last = word
        bits = needed[word] & recent[row, word]
        while bits != np.uint64(0):
            column = word * 64 + trailing_zeros(bits)
            bits &= bits - np.uint64(1)
            age = now - history.stamp[row, column]
            if age >= delays:
                recent[row, word] &= ~(np.uint64(1) << np.uint64(column & 63))
                continue
            while filled <= column:
                starts[0, filled], starts[1, filled] = off, on
                filled += 1
            code = np.int32(column * delays)
            past = (history.bits[row, column, 0] << np.uint64(age)) & window
            while past != np.uint64(0):
                lists.codes[off] = code + np.int32(trailing_zeros(past))
                past &= past - np.uint64(1)
                off += 1
            past = (history.bits[row, column, 1] << np.uint64(age)) & window
            while past != np.uint64(0):
                lists.codes[on] = code + np.int32(trailing_zeros(past))
                past &= past - np.uint64(1)
                on += 1
    if begun:  # up to behind the last column that any answer reads
        for column in range(filled, min(last * 64 + 65, starts.shape[1])):
            starts[0, column], starts[1, column] = off, on


@kernel
def _sum(lists: Lists, bank: Taps, row: int, chunk: int) -> int:
    """Add up the tables' rows of some pixels of one row, polarity by polarity, in ``lists.sums``; how many."""
    sums = lists.sums
    half = sums.size // (2 * _CHUNK)
    lane = half // bank.passes
    other = 0 if bank.contrast_flip else bank.rows // 2
    sums[: chunk * 2 * half] = 0
    added = 0
    for dy in range(bank.height):
        slot = (row + dy) % bank.height
        for v in range(chunk):
            column = lists.voxels[v]
            first, stop = column + bank.reach[dy, 0], column + bank.reach[dy, 1] + 1
            base = (dy * bank.width - column) * bank.delays
            for p in range(2):
                begin, end = np.int64(lists.starts[slot, p, first]), np.int64(lists.starts[slot, p, stop])
                if begin < end:
                    added += int(end - begin)
                    for turn in range(bank.passes):
                        sum_rows(
                            bank.table, lists.codes, begin, end, base + turn * bank.rows + p * other,
                            sums, (v * 2 + p) * half + turn * lane, bank.shape,
                        )  # fmt: skip
    return added


@kernel
def _answer(
    lists: Lists, bank: Taps, now: int, row: int, chunk: int, n: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> int:  # fmt: skip
    """Turn the sums of some pixels into rows of answers."""
    logits, sums = lists.logits, lists.sums
    half, classes = sums.size // (2 * _CHUNK), logits.size
    for v in range(chunk):
        off, on = sums[v * 2 * half : (v * 2 + 1) * half], sums[(v * 2 + 1) * half : (v + 1) * 2 * half]
        if bank.contrast_flip:
            # Rows hold the weights of ON, then of OFF; of an OFF event as it is, the second half counts.
            for c in range(classes):
                logits[c] = bank.bias[c] + max(on[c] + off[classes + c], off[c] + on[classes + c])
        else:
            for c in range(classes):
                logits[c] = bank.bias[c] + on[c] + off[c]
        winner = 0
        for c in range(classes):
            if logits[c] > logits[winner]:
                winner = c
        if out_evidence.shape[0] > 0:
            for c in range(classes):
                out_evidence[n, c] = logits[c]
        out_bin[n], out_x[n], out_y[n] = now, lists.voxels[v], row
        out_label[n], out_total[n] = winner, logits[winner]
        n += 1
    return n
