"""A motif bank at several bin widths at once, summed per tile: what a motion field is read from.

The same kernels told that their bins are m ms see speeds divided by m. Each scale has lists of active inputs of its
own (:mod:`kernels.tile_lists`) and, at the pixel of one of each n events, once its bin is closed, adds the integer
logits of all classes (:mod:`kernels.motifs`) to the tile that the pixel lies in:

    sums[tile, c] += B(c, bin, y, x),    rows[tile] += 1

No row is written, and all sums are integers: they do not depend on how the stream was cut, nor on any order. A pixel
and bin counts once. Which event of n is drawn by its number and the bin width: simulators, and sensors that scan,
send events in an order in which every n-th may come from the same place. A scale's first bins, whose windows reach
back behind the start, give nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import tile_lists
from kernels._jit import kernel
from kernels.columns import I64, U64, XY, P, T
from kernels.history import COUNT, NO_BIN, OPEN, START
from kernels.random import as_uniform, bits_at, key_of
from kernels.taps import Taps
from kernels.tile_lists import Tiles, note
from kernels.tile_sums import Scratch, new_scratch, sums_at

_PURPOSE = 0x7A27
WAITING = 2
"""In ``bins``: how many pixels of the open bin are to be evaluated."""
I32 = NDArray[np.int32]


@dataclass
class Scale:
    """One bin width: its past, and what it has summed.

    Attributes:
        bank: the motifs.
        bin_us: the width of a bin.
        every: the pixel of one of each so many events is evaluated.
        side: of a tile, pixels.
        width: of the sensor.
        tiles: lists of active inputs.
        places: [pixels] int32, the pixels to be evaluated when the open bin closes.
        marked: a bit a pixel, those of them.
        bins: int64 [OPEN, START, WAITING, COUNT]; see :class:`kernels.history.History`.
        sums: [tile, class] int64.
        rows: [tile] int64, how many logits were added.
        scratch: room for one voxel.
    """

    bank: Taps
    bin_us: int
    every: int
    side: int
    width: int
    tiles: Tiles
    places: I32
    marked: U64
    bins: I64
    sums: I64
    rows: I64
    scratch: Scratch

    @property
    def is_warm(self) -> bool:
        """Whether its windows lie behind the start of the stream."""
        return bool(self.bins[OPEN] - self.bins[START] >= self.bank.delays - 1)


def new_scale(width: int, height: int, bank: Taps, bin_us: int, every: int, side: int) -> Scale:
    """A scale of a sensor on which nothing has happened.

    Raises:
        ValueError: the bank does not fit :mod:`kernels.tile_sums`.
    """
    if not bank.short.usable:
        raise ValueError("the bank is too large, or its weights are, for sums over tiles")
    tiles = -(-width // side) * -(-height // side)
    made = Scale(
        bank, bin_us, every, side, width,
        tile_lists.new_tiles(width + bank.width - 1, height + bank.height - 1, bank.delays),
        np.empty(width * height, np.int32), np.zeros(-(-width * height // 64), np.uint64), np.empty(4, np.int64),
        np.zeros((tiles, bank.classes), np.int64), np.zeros(tiles, np.int64), new_scratch(bank),
    )  # fmt: skip
    forget(made)
    return made


def forget(scale: Scale) -> None:
    """Start anew, as after a gap."""
    old = scale.tiles
    scale.tiles = tile_lists.new_tiles(
        old.across * tile_lists.SIDE, len(old.meta) // old.across * tile_lists.SIDE, old.delays
    )
    scale.marked[:], scale.sums[:], scale.rows[:] = 0, 0, 0
    scale.bins[:] = NO_BIN, NO_BIN, 0, 0


def advance(scale: Scale, t: T, x: XY, y: XY, p: P, until_us: int) -> None:
    """Take in events and sum every bin that closes: those before the last event's, or that end by ``until_us``.

    Args:
        scale: updated.
        t: times [n], never falling.
        x: columns [n]; so are ``y`` and ``p``.
        y: see above.
        p: see above.
        until_us: what was said before this time is complete.
    """
    scale.tiles = tile_lists.reserve(scale.tiles, len(t))
    _advance(
        t, x, y, p, scale.tiles, scale.places, scale.marked, scale.bins, scale.scratch, scale.bank, scale.bin_us,
        scale.every, scale.side, scale.width, until_us // scale.bin_us, scale.sums, scale.rows,
    )  # fmt: skip


def empty(scale: Scale) -> None:
    """Begin new sums; the past stays."""
    scale.sums[:], scale.rows[:] = 0, 0


def saved(scale: Scale) -> dict[str, NDArray[Any]]:
    """All that a later :func:`load` needs, as copies."""
    lists = {f"tiles_{name}": array for name, array in tile_lists.saved(scale.tiles).items()}
    return {
        **lists, "places": scale.places[: scale.bins[WAITING]].copy(), "bins": scale.bins.copy(),
        "sums": scale.sums.copy(), "rows": scale.rows.copy(),
    }  # fmt: skip


def load(scale: Scale, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Go on from what :func:`saved` gave."""
    lists = {name[6:]: array for name, array in arrays.items() if name.startswith("tiles_")}
    scale.tiles = tile_lists.load(scale.tiles, lists)
    scale.bins[:], scale.sums[:], scale.rows[:] = arrays["bins"], arrays["sums"], arrays["rows"]
    places = arrays["places"]
    scale.places[: len(places)], scale.marked[:] = places, 0
    np.bitwise_or.at(scale.marked, places >> 6, np.uint64(1) << (places & 63).astype(np.uint64))


@kernel
def _advance(
    t: T, x: XY, y: XY, p: P, tiles: Tiles, places: I32, marked: U64, bins: I64, scratch: Scratch, bank: Taps,
    bin_us: int, every: int, side: int, width: int, until_bin: int, sums: I64, rows: I64,
) -> None:  # fmt: skip
    entries, meta, seen, used, across, delays = tiles
    rx, ry = bank.width // 2, bank.height // 2
    key = key_of(0, _PURPOSE, bin_us)
    i = 0
    while i < t.size:
        now = t[i] // bin_us
        if now != bins[OPEN]:
            _close(tiles, places, marked, bins, scratch, bank, side, width, sums, rows)
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
        _close(tiles, places, marked, bins, scratch, bank, side, width, sums, rows)


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
    sums: I64, rows: I64,
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
            sums_at(row, column, now, entries, meta, across, scratch, bank)
            k = row // side * tiles_x + column // side
            for c in range(bank.bias.size):
                sums[k, c] += logits[c]
            rows[k] += 1
    bins[WAITING] = 0
