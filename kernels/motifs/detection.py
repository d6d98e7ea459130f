"""Heterogeneous-delay motif detection on a pixel grid.

Grimaldi & Perrinet, "Learning heterogeneous delays in a layer of spiking neurons for fast motion
detection", Biological Cybernetics 2023. With A binary presence of events per polarity, bin and pixel,

    B(c, t, y, x) = bias_c + sum over p, d, dy, dx of K(c, p, d, dy, dx) A(p, t - d, y + dy, x + dx)

is evaluated where it is asked for (:mod:`kernels.motifs.targets`), once the bin is closed. The recent past is one
64-bit word per pixel and polarity, bit d set if an event fell d bins ago (:mod:`kernels.motifs.history`). The active
inputs of a voxel come from lists, of tiles (:mod:`kernels.motifs.tile_sums`) or of rows of pixels
(:mod:`kernels.motifs.row_lists`), and one row of the weight table is added for each: the work is the number of active
inputs, not the size of the window or of the sensor. docs/motifs.md tells what else was tried.

Weights are integers (int16), so every order of addition gives the same sum; with sum |w| + |bias| < 2^24
per class it is exact in float32 too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, I64, XY, P, T
from kernels.motifs import row_lists, tile_lists, tile_sums
from kernels.motifs.history import COUNT, FRESH, MAX_DELAYS, OPEN, History, start_bin
from kernels.motifs.merging import Found
from kernels.motifs.row_lists import Lists as RowLists
from kernels.motifs.taps import Taps, taps
from kernels.motifs.targets import EVERY_EVENT, Where, choose, count_targets, is_mine
from kernels.motifs.tile_lists import Tiles, append, code_of, tile_of
from kernels.motifs.tile_sums import Scratch, new_scratch

__all__ = ["Found", "Lists", "Taps", "advance", "new_lists", "rebuild", "taps"]

_ROOM = 65_536
"""Rows that one call of the kernel may answer, at least; a bin's answers are never split."""

_DENSE_INPUTS = (600, 500, 400)
"""Active inputs of an answer from which on rows are faster, by the lines of the cache in a row of the table."""
_DENSE_TARGETS = 8
"""Answers a row of pixels that pay for listing it."""


@dataclass
class Lists:
    """Active inputs, listed in two ways: for sparse and for dense bins. What they hold follows from a history.

    Attributes:
        rows: room for lists that are made anew for each bin.
        tiles: lists that go on from bin to bin; see :func:`rebuild`.
        scratch: room for one voxel.
    """

    rows: RowLists
    tiles: Tiles
    scratch: Scratch


def new_lists(width: int, height: int, bank: Taps) -> Lists:
    """Lists of a history in which nothing has happened, for a sensor of this size."""
    return Lists(
        row_lists.new_lists(width, height, bank),
        tile_lists.new_tiles(width + bank.width - 1, height + bank.height - 1, bank.delays),
        new_scratch(bank),
    )


def rebuild(lists: Lists, history: History) -> None:
    """Make lists follow a history that was loaded or forgotten, or a bank that changed."""
    lists.tiles = tile_lists.rebuilt(lists.tiles, history)


def advance(
    t: T, x: XY, y: XY, p: P, history: History, lists: Lists, bank: Taps, bin_us: int, until_bin: int,
    with_evidence: bool, where: Where = EVERY_EVENT,
) -> Found:  # fmt: skip
    """Take in events and evaluate every bin that closes: those before the last event's, or ``until_bin``.

    Args:
        t: times [n], never falling.
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        history: the past, updated in place.
        lists: from :func:`new_lists`, of this history.
        bank: the motifs.
        bin_us: the width of a bin.
        until_bin: bins below this one are closed.
        with_evidence: whether all classes' sums are returned.
        where: the voxels that are evaluated.
    """
    room = max(_ROOM, history.targets.shape[0] * history.width)
    if where.mode == EVERY_EVENT.mode:  # an event opens at most one pixel of one bin
        room = len(t) + int(np.bitwise_count(history.targets).sum())
    out = Found(
        np.empty(room, np.int64), np.empty(room, np.uint16), np.empty(room, np.uint16),
        np.empty(room, np.uint16), np.empty(room, np.float32),
        np.empty((room if with_evidence else 0, bank.classes), np.float32),
    )  # fmt: skip
    if bank.short.usable:
        lists.tiles = tile_lists.reserve(lists.tiles, len(t))
    parts: list[Found] = []
    at, done = 0, False
    while not done:
        at, n, done = _advance(
            t, x, y, p, at, history, lists.rows, lists.tiles, lists.scratch, bank, where, bin_us, until_bin,
            out.bin, out.x, out.y, out.label, out.total, out.evidence,
        )  # fmt: skip
        parts.append(_first(out, n, with_evidence, copy=not done or len(parts) > 0))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _first(out: Found, n: int, with_evidence: bool, copy: bool) -> Found:
    part = Found._make([*(column[:n] for column in out[:-1]), out.evidence[: n * with_evidence]])
    return _joined([part]) if copy else part


def _joined(parts: list[Found]) -> Found:
    return Found._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


@kernel
def _advance(
    t: T, x: XY, y: XY, p: P, at: int, history: History, lists: RowLists, tiles: Tiles, scratch: Scratch,
    bank: Taps, where: Where, bin_us: int, until_bin: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> tuple[int, int, bool]:  # fmt: skip
    """(events taken, rows answered, whether all is done); stops early before a bin that has no room."""
    bins = history.bins
    n, i = 0, at
    while i < t.size:
        now = t[i] // bin_us
        if now != bins[OPEN]:
            if bins[FRESH]:
                choose(history, bank.height, bank.width, bank.delays, where)
                if n + count_targets(history) > out_bin.size:
                    return i, n, False
                n = _evaluate(
                    history,
                    lists,
                    tiles,
                    scratch,
                    bank,
                    n,
                    out_bin,
                    out_x,
                    out_y,
                    out_label,
                    out_total,
                    out_evidence,
                )
            start_bin(history, now)
        i = _list_tiles(t, x, y, p, i, (now + 1) * bin_us, history, where, tiles, bank.short.usable)
    if bins[FRESH] and bins[OPEN] < until_bin:
        choose(history, bank.height, bank.width, bank.delays, where)
        if n + count_targets(history) > out_bin.size:
            return t.size, n, False
        n = _evaluate(
            history, lists, tiles, scratch, bank, n, out_bin, out_x, out_y, out_label, out_total, out_evidence
        )
    return t.size, n, True


@kernel
def _list_tiles(
    t: T,
    x: XY,
    y: XY,
    p: P,
    at: int,
    ends_us: int,
    history: History,
    where: Where,
    tiles: Tiles,
    with_tiles: bool,
) -> int:
    """Remember the events of the open bin, those from ``at`` on and before ``ends_us``.

    Args:
        t: times [n], never falling.
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        at: the first of them.
        ends_us: where the bin ends.
        history: updated.
        where: the pixels that are to be evaluated.
        tiles: lists that follow the history, updated.
        with_tiles: whether they do.

    Returns:
        The first event behind the bin.
    """
    bits, stamp, recent = history.bits, history.stamp, history.recent
    targets, rows, now = history.targets, history.rows, history.bins[OPEN]
    rx, ry, until_target = history.rx, history.ry, np.int64(-1)
    entries, meta, _, used, across, delays = tiles
    every = where.step if where.mode == EVERY_EVENT.mode else 0
    if every > 0:
        until_target = every - history.bins[COUNT] % every
    i = at
    while i < t.size and t[i] < ends_us:
        px, py, pol = np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
        row, column = py + ry, px + rx
        age = now - stamp[row, column]
        if age >= MAX_DELAYS:
            bits[row, column, 0] = np.uint64(0)
            bits[row, column, 1] = np.uint64(0)
        elif age > 0:
            bits[row, column, 0] <<= np.uint64(age)
            bits[row, column, 1] <<= np.uint64(age)
        stamp[row, column] = now
        if bits[row, column, pol] & np.uint64(1) == np.uint64(0):
            bits[row, column, pol] |= np.uint64(1)
            recent[row, column >> 6] |= np.uint64(1) << np.uint64(column & 63)
            if with_tiles:
                append(
                    entries, meta, used, delays, now, tile_of(column, row, across), code_of(column, row, pol)
                )
        until_target -= 1
        if until_target == 0:
            until_target = every
            if is_mine(where, py):
                targets[py, px >> 6] |= np.uint64(1) << np.uint64(px & 63)
                rows[py >> 6] |= np.uint64(1) << np.uint64(py & 63)
        i += 1
    if i > at:
        history.bins[FRESH] = 1
        history.bins[COUNT] += i - at
    return i


@kernel
def _evaluate(
    history: History, lists: RowLists, tiles: Tiles, scratch: Scratch, bank: Taps, n: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> int:  # fmt: skip
    """Evaluate the targets of the open bin in raster order, and empty them."""
    before = n
    if bank.short.usable and not scratch.dense[0]:
        n, added = tile_sums.evaluate(
            history, tiles, scratch, bank, n, out_bin, out_x, out_y, out_label, out_total, out_evidence
        )
    else:
        n, added = row_lists.evaluate(
            history, lists, bank, n, out_bin, out_x, out_y, out_label, out_total, out_evidence
        )
    scratch.dense[0] = _is_dense(history, bank, n - before, added)
    for block in range(history.rows.size):
        while history.rows[block] != np.uint64(0):
            history.targets[block * 64 + trailing_zeros(history.rows[block])] = np.uint64(0)
            history.rows[block] &= history.rows[block] - np.uint64(1)
    history.bins[FRESH] = 0
    return n


@kernel
def _is_dense(history: History, bank: Taps, answers: int, added: int) -> bool:
    """Whether the next bin, which will be like this one, is summed faster by rows: the sums are the same."""
    rows = 0
    for block in range(history.rows.size):
        waiting = history.rows[block]
        while waiting != np.uint64(0):
            waiting &= waiting - np.uint64(1)
            rows += 1
    lines = len(bank.short.shape)
    return added > answers * _DENSE_INPUTS[min(lines, 3) - 1] and answers > rows * _DENSE_TARGETS
