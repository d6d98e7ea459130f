"""A motif bank at several bin widths at once, summed per tile: what a motion field is read from.

The same kernels told that their bins are m ms see speeds divided by m. Each scale has lists of active inputs of its
own (:mod:`kernels.motifs.tile_lists`) and, at the pixel of one of each n events, once its bin is closed, adds the
integer logits of all classes (:mod:`kernels.motifs.detection`) to the tile that the pixel lies in:

    sums[tile, c] += B(c, bin, y, x),    added[tile] += 1,    rows[tile] += 1

What a tile has said often is not asked again: behind the first ``most`` of a window ``rows`` alone goes on counting.
No row is written, and all sums are integers: they do not depend on how the stream was cut, nor on any order. A pixel
and bin counts once. Which event of n is drawn by its number and the bin width: simulators, and sensors that scan,
send events in an order in which every n-th may come from the same place. A scale's first bins, whose windows reach
back behind the start, give nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import I64, U64, XY, P, T
from kernels.motifs import tile_lists
from kernels.motifs._windows import SPARE
from kernels.motifs.history import COUNT, NO_BIN, OPEN, START
from kernels.motifs.taps import Taps
from kernels.motifs.tile_lists import LAST, ROOM, Tiles, note
from kernels.motifs.tile_sums import Scratch, new_scratch, sums_at
from kernels.random import as_uniform, bits_at, key_of

_PURPOSE = 0x7A27
WAITING = 2
"""In ``bins``: how many pixels of the open bin are to be evaluated."""
NO_LIMIT = 2**62
I32 = NDArray[np.int32]
U16 = NDArray[np.uint16]


@dataclass
class Scales:
    """A bank at several bin widths: what each remembers, and what it has summed.

    Attributes:
        bank: the motifs.
        bins_us: [scale] int64, widths of their bins.
        every: the pixel of one of each so many events is evaluated.
        most: [scale] int64, of how many of a tile logits are added, until :func:`empty`.
        side: of a tile, pixels.
        width: of the sensor.
        across: tiles of lists in a row; see :class:`kernels.motifs.tile_lists.Tiles`, as for the next four.
        entries: [scale, room] uint16.
        meta: [scale, tile of lists, 5] int64.
        seen: [scale, tile of lists, 8] uint64.
        used: [scale] int64.
        places: [scale, pixels] int32, the pixels to be evaluated when the open bin closes.
        marked: [scale, words], a bit a pixel, those of them.
        bins: [scale, (OPEN, START, WAITING, COUNT)] int64; see :class:`kernels.motifs.history.History`.
        sums: [scale, tile, class] int64.
        rows: [scale, tile] int64, how many pixels waited.
        added: [scale, tile] int64, of how many of them logits were added.
        scratch: room for one voxel, for each thread.
    """

    bank: Taps
    bins_us: I64
    every: int
    most: I64
    side: int
    width: int
    across: int
    entries: U16
    meta: I64
    seen: U64
    used: I64
    places: I32
    marked: U64
    bins: I64
    sums: I64
    rows: I64
    added: I64
    scratch: tuple[Scratch, ...]

    def __len__(self) -> int:
        return len(self.bins_us)

    @property
    def is_warm(self) -> bool:
        """Whether all windows lie behind the start of the stream."""
        return bool((self.bins[:, OPEN] - self.bins[:, START] >= self.bank.delays - 1).all())

    def lists(self, scale: int) -> Tiles:
        """The lists of one scale."""
        return Tiles(
            self.entries[scale], self.meta[scale], self.seen[scale], self.used[scale : scale + 1], self.across,
            self.bank.delays,
        )  # fmt: skip


def new_scales(
    width: int, height: int, bank: Taps, bins_us: Sequence[int], every: int, side: int,
    most: Sequence[int] | None = None, threads: int = 1,
) -> Scales:  # fmt: skip
    """Scales of a sensor on which nothing has happened.

    Raises:
        ValueError: the bank does not fit :mod:`kernels.motifs.tile_sums`.
    """
    if not bank.short.usable:
        raise ValueError("the bank is too large, or its weights are, for sums over tiles")
    n, tiles = len(bins_us), -(-width // side) * -(-height // side)
    empty_lists = tile_lists.new_tiles(width + bank.width - 1, height + bank.height - 1, bank.delays)
    made = Scales(
        bank, np.array(bins_us, np.int64), every, np.array(most or [NO_LIMIT] * n, np.int64), side, width,
        empty_lists.across, np.zeros((n, SPARE), np.uint16), np.zeros((n, *empty_lists.meta.shape), np.int64),
        np.zeros((n, *empty_lists.seen.shape), np.uint64), np.zeros(n, np.int64),
        np.empty((n, width * height), np.int32), np.zeros((n, -(-width * height // 64)), np.uint64),
        np.empty((n, 4), np.int64), np.zeros((n, tiles, bank.classes), np.int64), np.zeros((n, tiles), np.int64),
        np.zeros((n, tiles), np.int64), tuple(new_scratch(bank) for _ in range(threads)),
    )  # fmt: skip
    forget(made)
    return made


def forget(scales: Scales) -> None:
    """Start anew, as after a gap."""
    scales.meta[:], scales.used[:], scales.marked[:] = 0, 0, 0
    scales.meta[:, :, LAST] = NO_BIN
    scales.bins[:] = NO_BIN, NO_BIN, 0, 0
    empty(scales)


def reserve(scales: Scales, n: int) -> None:
    """Make room for ``n`` more events."""
    given = scales.meta[:, :, ROOM].sum(axis=1)
    asked = scales.used + tile_lists.need(scales.meta.shape[1], given, n) + SPARE
    for i in np.flatnonzero(asked > scales.entries.shape[1]).tolist():
        moved = tile_lists.reserve(scales.lists(i), n).entries
        if len(moved) > scales.entries.shape[1]:
            entries = np.zeros((len(scales), len(moved)), np.uint16)
            entries[:, : scales.entries.shape[1]] = scales.entries
            scales.entries = entries
        scales.entries[i, : scales.used[i]] = moved[: scales.used[i]]


def advance(scales: Scales, t: T, x: XY, y: XY, p: P, until_us: int, part: int = 0, parts: int = 1) -> None:
    """Take in events and sum every bin that closes: those before the last event's, or that end by ``until_us``.

    Scales know nothing of each other, so that several threads may each do a part of them; whoever does so reserves
    room before.

    Args:
        scales: updated.
        t: times [n], never falling.
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        until_us: what was said before this time is complete.
        part: of the scales, those whose number leaves this rest.
        parts: divided by this.
    """
    if parts == 1:
        reserve(scales, len(t))
    _advance_all(
        t, x, y, p, scales.entries, scales.meta, scales.seen, scales.used, scales.across, scales.places,
        scales.marked, scales.bins, scales.scratch[part], scales.bank, scales.bins_us, scales.every, scales.most,
        scales.side, scales.width, until_us, scales.sums, scales.rows, scales.added, part, parts,
    )  # fmt: skip


def empty(scales: Scales) -> None:
    """Begin new sums; the past stays."""
    scales.sums[:], scales.rows[:], scales.added[:] = 0, 0, 0


def saved(scales: Scales) -> dict[str, NDArray[Any]]:
    """All that a later :func:`load` needs, as copies."""
    kept: dict[str, NDArray[Any]] = {}
    for i in range(len(scales)):
        lists = {f"tiles_{name}": array for name, array in tile_lists.saved(scales.lists(i)).items()}
        own = {
            **lists, "places": scales.places[i, : scales.bins[i, WAITING]].copy(), "bins": scales.bins[i].copy(),
            "sums": scales.sums[i].copy(), "rows": scales.rows[i].copy(), "added": scales.added[i].copy(),
        }  # fmt: skip
        kept.update({f"{i}_{name}": array for name, array in own.items()})
    return kept


def load(scales: Scales, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Go on from what :func:`saved` gave."""
    room = max(len(arrays[f"{i}_tiles_entries"]) for i in range(len(scales)))
    scales.entries = np.zeros((len(scales), room + SPARE), np.uint16)
    scales.marked[:] = 0
    for i in range(len(scales)):
        own = {name.partition("_")[2]: array for name, array in arrays.items() if name.startswith(f"{i}_")}
        entries, places = own["tiles_entries"], own["places"]
        scales.entries[i, : len(entries)], scales.used[i] = entries, len(entries)
        scales.meta[i], scales.seen[i] = own["tiles_meta"], own["tiles_seen"]
        scales.bins[i], scales.sums[i], scales.rows[i] = own["bins"], own["sums"], own["rows"]
        scales.added[i] = own.get("added", own["rows"])
        scales.places[i, : len(places)] = places
        np.bitwise_or.at(scales.marked[i], places >> 6, np.uint64(1) << (places & 63).astype(np.uint64))


@kernel
def _advance_all(
    t: T, x: XY, y: XY, p: P, entries: U16, meta: I64, seen: U64, used: I64, across: int, places: I32, marked: U64,
    bins: I64, scratch: Scratch, bank: Taps, bins_us: I64, every: int, most: I64, side: int, width: int,
    until_us: int, sums: I64, rows: I64, added: I64, part: int, parts: int,
) -> None:  # fmt: skip
    for s in range(part, bins_us.size, parts):
        lists = Tiles(entries[s], meta[s], seen[s], used[s : s + 1], across, bank.delays)
        _advance(
            t, x, y, p, lists, places[s], marked[s], bins[s], scratch, bank, bins_us[s], every, side, width,
            until_us // bins_us[s], sums[s], rows[s], added[s], most[s],
        )  # fmt: skip


@kernel
def _advance(
    t: T, x: XY, y: XY, p: P, tiles: Tiles, places: I32, marked: U64, bins: I64, scratch: Scratch, bank: Taps,
    bin_us: int, every: int, side: int, width: int, until_bin: int, sums: I64, rows: I64,
    added: I64, most: int,
) -> None:  # fmt: skip
    entries, meta, seen, used, across, delays = tiles
    rx, ry = bank.width // 2, bank.height // 2
    key = key_of(0, _PURPOSE, bin_us)
    i = 0
    while i < t.size:
        now = t[i] // bin_us
        if now != bins[OPEN]:
            _close(tiles, places, marked, bins, scratch, bank, side, width, sums, rows, added, most)
            bins[OPEN] = now
            if bins[START] == NO_BIN:
                bins[START] = now
        ends_us = (now + 1) * bin_us
        # Counted from the first event of this bin.
        until_target = _drawn(bins[COUNT], every, key) - bins[COUNT]
        waiting, first = bins[WAITING], i
        while i < t.size and t[i] < ends_us:
            px, py, polarity = np.int64(x[i]), np.int64(y[i]), np.int64(p[i])
            note(entries, meta, seen, used, across, delays, now, px + rx, py + ry, polarity)
            if i - first == until_target:
                until_target = _drawn(bins[COUNT] + until_target + 1, every, key) - bins[COUNT]
                place = py * width + px
                bit = np.uint64(1) << np.uint64(place & 63)
                if not marked[place >> 6] & bit:
                    marked[place >> 6] |= bit
                    places[waiting] = place
                    waiting += 1
            i += 1
        bins[WAITING] = waiting
        bins[COUNT] += i - first
    if bins[OPEN] < until_bin:
        _close(tiles, places, marked, bins, scratch, bank, side, width, sums, rows, added, most)


@kernel
def _drawn(number: int, every: int, key: Any) -> int:
    """The first event from ``number`` on that is drawn: one of each ``every``."""
    block = number // every
    drawn = block * every + int(as_uniform(bits_at(key, block)) * every)
    if drawn < number:
        block += 1
        drawn = block * every + int(as_uniform(bits_at(key, block)) * every)
    return drawn


@kernel
def _close(
    tiles: Tiles, places: I32, marked: U64, bins: I64, scratch: Scratch, bank: Taps, side: int, width: int,
    sums: I64, rows: I64, added: I64, most: int,
) -> None:  # fmt: skip
    """Evaluate the pixels that wait, and add what they say to their tiles."""
    entries, meta, across, logits = tiles.entries, tiles.meta, tiles.across, scratch.logits
    now, tiles_x = bins[OPEN], -(-width // side)
    is_warm = now - bins[START] >= bank.delays - 1
    for i in range(bins[WAITING]):
        place = np.int64(places[i])
        marked[place >> 6] = np.uint64(0)
        if is_warm:
            row, column = place // width, place % width
            k = row // side * tiles_x + column // side
            rows[k] += 1
            if added[k] < most:
                sums_at(row, column, now, entries, meta, across, scratch, bank)
                for c in range(bank.bias.size):
                    sums[k, c] += logits[c]
                added[k] += 1
    bins[WAITING] = 0
