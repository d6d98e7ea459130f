"""Active inputs of the last bins, tile by tile, in order of time: what sparse detectors sum over.

The sensor, padded by half a kernel, is cut into tiles of 16 x 16 pixels. Each keeps a plain list of its active
inputs, two bytes each (:mod:`kernels.motifs._windows`), oldest first. An event adds one entry, unless its pixel and
polarity has one in this bin; what is too old is dropped from the front when a tile is written for the first time in
a bin. A window touches a few tiles, whose lists are filtered (:func:`kernels.motifs._windows.collect`). Nothing
ages: ages are computed from the bin when they are used, and a tile that was last written as many bins ago as there
are delays holds nothing.

Lists lie in one pool and double where they are full. There is always room for the events of one call
(:func:`reserve`), so kernels never stop for memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import inlined, kernel
from kernels.columns import I64, U64
from kernels.motifs._windows import AGE_BITS, SIDE_BITS, SPARE
from kernels.motifs.history import NO_BIN, OPEN, History

U16 = NDArray[np.uint16]

START, ROOM, HEAD, TAIL, LAST = 0, 1, 2, 3, 4
"""Columns of ``meta``: where a tile's region of the pool begins, its size, the first and the end of its living
entries, and the bin of its last event."""
SIDE = 1 << SIDE_BITS
_LEAST = 64
_WORDS = 2 * SIDE * SIDE // 64
_ENTRY_BITS = 2 * SIDE_BITS + 1
_AGES = (1 << AGE_BITS) - 1


class Tiles(NamedTuple):
    """The lists of a sensor; arrays are updated in place, but :func:`reserve` may replace the pool.

    Attributes:
        entries: the pool, SPARE places longer than what is given out.
        meta: [tile, (START, ROOM, HEAD, TAIL, LAST)] int64.
        seen: [tile, 8] uint64: which inputs have an entry in the bin LAST, as bits polarity, y, x.
        used: [1] int64, how much of the pool is given out.
        across: tiles in a row.
        delays: how many bins an entry lives.
    """

    entries: U16
    meta: I64
    seen: U64
    used: I64
    across: int
    delays: int


def new_tiles(padded_width: int, padded_height: int, delays: int) -> Tiles:
    """Empty lists, for at most 64 delays."""
    across = -(-padded_width // SIDE)
    n = across * -(-padded_height // SIDE)
    meta = np.zeros((n, 5), np.int64)
    meta[:, LAST] = NO_BIN
    return Tiles(
        np.zeros(SPARE, np.uint16), meta, np.zeros((n, 8), np.uint64), np.zeros(1, np.int64), across, delays
    )


def reserve(tiles: Tiles, n: int) -> Tiles:
    """The same lists, with room for ``n`` more events wherever they fall.

    A full region of r places becomes one of 2 r, and takes r entries before it is full again. So all that n events
    can ask for is twice what is given out, four places for each of them, and the first regions.
    """
    given = int(tiles.meta[:, ROOM].sum())
    if int(tiles.used[0]) + int(need(len(tiles.meta), given, n)) + SPARE <= len(tiles.entries):
        return tiles
    living = tiles.meta[:, TAIL] - tiles.meta[:, HEAD]
    doubled = np.maximum(1 << np.ceil(np.log2(np.maximum(2 * living, 1))).astype(np.int64), _LEAST)
    rooms = np.where(living > 0, doubled, 0)
    given = int(rooms.sum())
    pool = np.zeros(given + 2 * int(need(len(tiles.meta), given, n)) + SPARE, np.uint16)
    _move(tiles.entries, tiles.meta, pool, np.cumsum(rooms) - rooms, rooms)
    tiles.used[0] = given
    return tiles._replace(entries=pool)


def need(tiles: int, given: Any, n: int) -> Any:
    """Places that ``n`` events may ask for in lists of so many tiles that were given so many; see :func:`reserve`."""
    return 2 * given + 4 * n + _LEAST * min(n, tiles)


@kernel
def _move(entries: U16, meta: I64, moved: U16, starts: I64, rooms: I64) -> None:
    for k in range(meta.shape[0]):
        first, n = meta[k, START] + meta[k, HEAD], meta[k, TAIL] - meta[k, HEAD]
        for i in range(n):
            moved[starts[k] + i] = entries[first + i]
        meta[k, START], meta[k, ROOM], meta[k, HEAD], meta[k, TAIL] = starts[k], rooms[k], 0, n


@inlined
def tile_of(column: int, row: int, across: int) -> int:
    """The tile of a padded pixel."""
    return (row >> SIDE_BITS) * across + (column >> SIDE_BITS)


@inlined
def code_of(column: int, row: int, polarity: int) -> int:
    """An entry without its bin."""
    return polarity << 2 * SIDE_BITS | (row & SIDE - 1) << SIDE_BITS | column & SIDE - 1


@inlined
def note(
    entries: U16, meta: I64, seen: U64, used: I64, across: int, delays: int, now: int, column: int, row: int,
    polarity: int,
) -> bool:  # fmt: skip
    """Add an active input of the bin ``now`` at a padded pixel, unless it is there; whether it was not."""
    k, code = tile_of(column, row, across), code_of(column, row, polarity)
    if meta[k, LAST] != now:
        for word in range(_WORDS):
            seen[k, word] = np.uint64(0)
    bit, word = np.uint64(1) << np.uint64(code & 63), code >> 6
    if seen[k, word] & bit:
        return False
    seen[k, word] |= bit
    append(entries, meta, used, delays, now, k, code)
    return True


@inlined
def append(entries: U16, meta: I64, used: I64, delays: int, now: int, k: int, code: int) -> None:
    """Add an active input of the bin ``now`` that is not there yet to the tile ``k``."""
    if meta[k, LAST] != now:
        _drop_old(entries, meta, k, delays, now)
    if meta[k, TAIL] == meta[k, ROOM]:
        _grow(entries, meta, used, k)
    entries[meta[k, START] + meta[k, TAIL]] = (now & _AGES) << _ENTRY_BITS | code
    meta[k, TAIL] += 1


@inlined
def _drop_old(entries: U16, meta: I64, k: int, delays: int, now: int) -> None:
    start, head, tail = meta[k, START], meta[k, HEAD], meta[k, TAIL]
    if now - meta[k, LAST] >= delays:
        head, tail = 0, 0
    while head < tail and (now - (np.int64(entries[start + head]) >> _ENTRY_BITS)) & _AGES >= delays:
        head += 1
    if head >= _LEAST and head >= tail - head:
        for i in range(tail - head):
            entries[start + i] = entries[start + head + i]
        head, tail = 0, tail - head
    meta[k, HEAD], meta[k, TAIL], meta[k, LAST] = head, tail, now


@inlined
def _grow(entries: U16, meta: I64, used: I64, k: int) -> None:
    """Give a full tile a region twice as large."""
    first, n = meta[k, START] + meta[k, HEAD], meta[k, TAIL] - meta[k, HEAD]
    start, room = used[0], max(2 * meta[k, ROOM], _LEAST)
    for i in range(n):
        entries[start + i] = entries[first + i]
    meta[k, START], meta[k, ROOM], meta[k, HEAD], meta[k, TAIL] = start, room, 0, n
    used[0] += room


def rebuilt(tiles: Tiles, history: History) -> Tiles:
    """Lists of what a history holds, in place of what these held."""
    now = int(history.bins[OPEN])
    made = new_tiles(tiles.across * SIDE, len(tiles.meta) // tiles.across * SIDE, tiles.delays)
    if now == NO_BIN:
        return made
    rows, columns = np.nonzero(history.stamp > now - tiles.delays)
    bits, stamp = history.bits[rows, columns], history.stamp[rows, columns]
    made = reserve(made, int(np.bitwise_count(bits).sum()))
    _rebuild(*made, now, rows, columns, bits, stamp)
    return made


@kernel
def _rebuild(
    entries: U16, meta: I64, seen: U64, used: I64, across: int, delays: int, now: int, rows: I64, columns: I64,
    bits: U64, stamp: I64,
) -> None:  # fmt: skip
    for age in range(delays - 1, -1, -1):
        for i in range(rows.size):
            behind = age - (now - stamp[i])
            if behind < 0:
                continue
            for polarity in range(2):
                if bits[i, polarity] >> np.uint64(behind) & np.uint64(1):
                    note(entries, meta, seen, used, across, delays, now - age, columns[i], rows[i], polarity)


def saved(tiles: Tiles) -> dict[str, NDArray[Any]]:
    """All that a later :func:`load` needs, as copies: the living entries alone."""
    living = tiles.meta[:, TAIL] - tiles.meta[:, HEAD]
    packed, meta = np.empty(int(living.sum()), np.uint16), tiles.meta.copy()
    _move(tiles.entries, meta, packed, np.cumsum(living) - living, living)
    return {"entries": packed, "meta": meta, "seen": tiles.seen.copy()}


def load(tiles: Tiles, arrays: Mapping[str, NDArray[Any]]) -> Tiles:
    """Lists as :func:`saved` gave them."""
    tiles.meta[:], tiles.seen[:] = arrays["meta"], arrays["seen"]
    tiles.used[0] = len(arrays["entries"])
    return tiles._replace(entries=np.concatenate([arrays["entries"], np.zeros(SPARE, np.uint16)]))
