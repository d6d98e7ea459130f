"""Heterogeneous-delay motif detection on a pixel grid.

Grimaldi & Perrinet, "Learning heterogeneous delays in a layer of spiking neurons for fast motion
detection", Biological Cybernetics 2023. With A binary presence of events per polarity, bin and pixel,

    B(c, t, y, x) = bias_c + sum over p, d, dy, dx of K(c, p, d, dy, dx) A(p, t - d, y + dy, x + dx)

is evaluated where it is asked for (:mod:`kernels.targets`), once the bin is closed. The recent past is one
64-bit word per pixel and polarity, bit d set if an event fell d bins ago (:mod:`kernels.history`). When a
bin closes, each row of pixels that an answer depends on becomes a list of its active inputs, in order of
their column; all answers in reach of the row share it. A voxel then is 2 x height runs of such lists, and
one row of the weight table is added for each active input: the work is the number of active inputs, not
the size of the window or of the sensor. docs/motifs.md tells what else was tried.

Weights are integers (int16), so every order of addition gives the same sum; with sum |w| + |bias| < 2^24
per class it is exact in float32 too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels._sums import shape_of, sum_rows, width_for
from kernels.columns import F32, I64, U64, XY, P, T
from kernels.history import FRESH, MAX_DELAYS, OPEN, History, note_events, start_bin
from kernels.targets import EVERY_EVENT, Where, choose, count_targets

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]

_ROOM = 65_536
"""Rows that one call of the kernel may answer, at least; a bin's answers are never split."""

_CHUNK = 32
"""Voxels of a row that are summed together: for each row of the kernel its part of the table, which fits into
the first cache, serves all of them."""


class Taps(NamedTuple):
    """A motif bank as the kernel reads it.

    Attributes:
        table: flat int16 rows of ``width`` lanes, one per (pass, [polarity,] dy, dx, delay). With contrast
            flip a row holds the weights of ON, then those of OFF; without, polarities have rows of their own.
        bias: [class] int32.
        reach: [dy, 2] int64, the first and the last column of the kernel with a weight, empty as (1, 0).
        height: of the kernel, pixels.
        width: of the kernel.
        delays: how many delays, bins.
        rows: of the table, one pass.
        passes: how often the width holds the lanes.
        contrast_flip: whether evidence is the maximum over both polarity assignments.
        shape: the width of the table, as :func:`kernels._sums.shape_of` says it.
    """

    table: I16
    bias: I32
    reach: I64
    height: int
    width: int
    delays: int
    rows: int
    passes: int
    contrast_flip: bool
    shape: tuple[int, ...]

    @property
    def classes(self) -> int:
        """How many motifs there are."""
        return len(self.bias)


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


@dataclass
class Found:
    """Rows of closed bins, in order of (bin, y, x)."""

    bin: I64
    x: XY
    y: XY
    label: XY
    total: F32
    """The winner's integer sum."""
    evidence: F32
    """All classes' integer sums [n, class], or [0, class] where nobody asked."""


def taps(weight: F32, bias: F32, contrast_flip: bool) -> Taps:
    """Lay out a bank [class, polarity, delay, dy, dx] for :func:`advance`.

    Raises:
        ValueError: more than 64 delays, a kernel that has no centre, weights that are no int16 integers, or
            sums that float32 cannot hold.
    """
    classes, _, delays, height, width = weight.shape
    if delays > MAX_DELAYS or height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"a motif kernel has odd sides and at most 64 delays, not {weight.shape[2:]}")
    if (np.abs(weight).sum(axis=(1, 2, 3, 4)) + np.abs(bias)).max(initial=0) >= 2**24:
        raise ValueError("sum |weight| + |bias| of a class must stay below 2^24, or sums are not exact")
    if np.abs(weight).max(initial=0) > 32767 or np.any(weight != np.rint(weight)):
        raise ValueError("weights must be integers from -32767 to 32767")
    lanes = classes * 2 if contrast_flip else classes
    columns = width_for(lanes)
    passes = -(-lanes // columns)
    # [polarity, dy, dx, delay, class]; with the flip ON comes first in a row.
    laid = weight.transpose(1, 3, 4, 2, 0)
    rows = np.concatenate([laid[1], laid[0]], axis=-1)[None] if contrast_flip else laid
    padded = np.zeros((*rows.shape[:-1], passes * columns), np.int16)
    padded[..., :lanes] = rows
    table = np.ascontiguousarray(np.moveaxis(padded.reshape(-1, passes, columns), 1, 0))
    used = np.any(weight != 0, axis=(0, 1, 2))
    reach = np.array(
        [(np.flatnonzero(row)[0], np.flatnonzero(row)[-1]) if row.any() else (1, 0) for row in used], np.int64
    )
    return Taps(
        table.reshape(-1), bias.astype(np.int32), reach, height, width, delays,
        padded[..., 0].size, passes, contrast_flip, shape_of(columns),
    )  # fmt: skip


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
        lists: room, from :func:`new_lists`.
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
    parts: list[Found] = []
    at, done = 0, False
    while not done:
        at, n, done = _advance(
            t, x, y, p, at, history, lists, bank, where, bin_us, until_bin,
            out.bin, out.x, out.y, out.label, out.total, out.evidence,
        )  # fmt: skip
        parts.append(_first(out, n, with_evidence, copy=not done or len(parts) > 0))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _first(out: Found, n: int, with_evidence: bool, copy: bool) -> Found:
    part = Found(
        out.bin[:n], out.x[:n], out.y[:n], out.label[:n], out.total[:n], out.evidence[: n * with_evidence]
    )  # fmt: skip
    return _joined([part]) if copy else part


def _joined(parts: list[Found]) -> Found:
    return Found(
        np.concatenate([part.bin for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.total for part in parts]),
        np.concatenate([part.evidence for part in parts]),
    )


@kernel
def _advance(
    t: T, x: XY, y: XY, p: P, at: int, history: History, lists: Lists, bank: Taps, where: Where,
    bin_us: int, until_bin: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> tuple[int, int, bool]:  # fmt: skip
    """(events taken, rows answered, whether all is done); stops early before a bin that has no room."""
    bins = history.bins
    n, i = 0, at
    every = where.step if where.mode == EVERY_EVENT.mode else 0
    while i < t.size:
        now = t[i] // bin_us
        if now != bins[OPEN]:
            if bins[FRESH]:
                choose(history, bank.height, bank.width, bank.delays, where)
                if n + count_targets(history) > out_bin.size:
                    return i, n, False
                n = _evaluate(
                    history, lists, bank, n, out_bin, out_x, out_y, out_label, out_total, out_evidence
                )
            start_bin(history, now)
        i = note_events(t, x, y, p, i, (now + 1) * bin_us, history, every)
    if bins[FRESH] and bins[OPEN] < until_bin:
        choose(history, bank.height, bank.width, bank.delays, where)
        if n + count_targets(history) > out_bin.size:
            return t.size, n, False
        n = _evaluate(history, lists, bank, n, out_bin, out_x, out_y, out_label, out_total, out_evidence)
    return t.size, n, True


@kernel
def _evaluate(
    history: History, lists: Lists, bank: Taps, n: int,
    out_bin: I64, out_x: XY, out_y: XY, out_label: XY, out_total: F32, out_evidence: F32,
) -> int:  # fmt: skip
    """Evaluate the targets of the open bin in raster order, and empty them."""
    targets, rows = history.targets, history.rows
    now = history.bins[OPEN]
    _smear(targets, rows, bank.width, lists.smear)
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
                        _sum(lists, bank, row, chunk)
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
            _sum(lists, bank, row, chunk)
            n = _answer(
                lists, bank, now, row, chunk, n, out_bin, out_x, out_y, out_label, out_total, out_evidence
            )
    for block in range(rows.size):
        while rows[block] != np.uint64(0):
            targets[block * 64 + trailing_zeros(rows[block])] = np.uint64(0)
            rows[block] &= rows[block] - np.uint64(1)
    history.bins[FRESH] = 0
    return n


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
def _sum(lists: Lists, bank: Taps, row: int, chunk: int) -> None:
    """Add up the tables' rows of some pixels of one row, polarity by polarity, in ``lists.sums``."""
    sums = lists.sums
    half = sums.size // (2 * _CHUNK)
    lane = half // bank.passes
    other = 0 if bank.contrast_flip else bank.rows // 2
    sums[: chunk * 2 * half] = 0
    for dy in range(bank.height):
        slot = (row + dy) % bank.height
        for v in range(chunk):
            column = lists.voxels[v]
            first, stop = column + bank.reach[dy, 0], column + bank.reach[dy, 1] + 1
            base = (dy * bank.width - column) * bank.delays
            for p in range(2):
                begin, end = np.int64(lists.starts[slot, p, first]), np.int64(lists.starts[slot, p, stop])
                if begin < end:
                    for turn in range(bank.passes):
                        sum_rows(
                            bank.table, lists.codes, begin, end, base + turn * bank.rows + p * other,
                            sums, (v * 2 + p) * half + turn * lane, bank.shape,
                        )  # fmt: skip


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
