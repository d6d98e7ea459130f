"""Where a detector is asked for an answer: at events, on a grid, at random voxels.

At every n-th event: the pixels of the events n, 2n, 3n ... since the start or the last gap; a pixel and bin
that holds several is evaluated once. On a grid, or at random: in each bin that holds an event, the pixels with
x and y divisible by the step, or those that a hash of (seed, bin, pixel) chooses; of these, the ones whose
window of the kernel's size holds an event of the kernel's delays.

Several detectors that see the same events may share the voxels: each answers in its own bands of 16 rows of pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels._jit import kernel, trailing_zeros
from kernels.columns import U64
from kernels.motifs.history import OPEN, History
from kernels.random import as_uniform, bits_at, key_of

_EVENTS, _GRID, _RANDOM = 0, 1, 2
_PURPOSE = 0x7A26
BAND_BITS = 4
"""log2 of the rows of a band."""


class Where(NamedTuple):
    """The voxels that are evaluated; made by the functions below.

    Attributes:
        mode: events, grid or random.
        step: every so many events, or pixels.
        share: of random voxels.
        seed: of random voxels.
        part: which of the bands of rows are this detector's: those whose number leaves this rest.
        parts: how many detectors share them.
    """

    mode: int
    step: int
    share: float
    seed: int
    part: int = 0
    parts: int = 1


def at_events(every: int = 1) -> Where:
    """At every ``every``-th event."""
    return Where(_EVENTS, every, 0.0, 0)


def on_grid(step: int = 1) -> Where:
    """Where x and y are divisible by ``step``; everywhere at 1."""
    return Where(_GRID, step, 0.0, 0)


def at_random(share: float, seed: int = 0) -> Where:
    """At a share of all voxels, drawn by (seed, bin, pixel)."""
    return Where(_RANDOM, 1, share, seed)


def sparser(where: Where, stride: int) -> Where:
    """The same with at most a ``stride``-th of the voxels: of the events, of the grid's, of the random ones.

    Events go on being counted where they were, and a grid's step grows by the root of ``stride``, rounded up.
    """
    if where.mode == _EVENTS:
        return where._replace(step=where.step * stride)
    if where.mode == _GRID:
        return where._replace(step=where.step * (math.isqrt(stride - 1) + 1))
    return where._replace(share=where.share / stride)


def shared(where: Where, part: int, parts: int) -> Where:
    """The same voxels, of which one of ``parts`` detectors answers in its own bands."""
    return where._replace(part=part, parts=parts)


EVERY_EVENT = at_events()


@kernel
def is_mine(where: Where, y: int) -> bool:
    """Whether a row of pixels is this detector's."""
    return where.parts == 1 or (y >> BAND_BITS) % where.parts == where.part


@kernel
def count_targets(history: History) -> int:
    """How many pixels of the open bin are to be evaluated."""
    n = 0
    for block in range(history.rows.size):
        waiting = history.rows[block]
        while waiting != np.uint64(0):
            row = block * 64 + trailing_zeros(waiting)
            waiting &= waiting - np.uint64(1)
            for word in range(history.targets.shape[1]):
                bits = history.targets[row, word]
                while bits != np.uint64(0):
                    bits &= bits - np.uint64(1)
                    n += 1
    return n


@kernel
def choose(history: History, height: int, width: int, delays: int, where: Where) -> None:
    """Mark the targets of the open bin, unless events have done so already."""
    if where.mode == _EVENTS:
        return
    now = history.bins[OPEN]
    _forget_old(history, delays)
    key = key_of(where.seed, _PURPOSE, now)
    columns = history.stamp.shape[1] - 2 * history.rx
    line = np.empty(history.recent.shape[1], np.uint64)
    for y in range(0, history.targets.shape[0], where.step):
        if not is_mine(where, y):
            continue
        line[:] = np.uint64(0)
        for row in range(y, y + height):
            line |= history.recent[row]
        _reach_left(line, width)
        history.targets[y] = np.uint64(0)
        any_here = np.uint64(0)
        for word in range(history.targets.shape[1]):
            bits = line[word]
            while bits != np.uint64(0):
                x = word * 64 + trailing_zeros(bits)
                bits &= bits - np.uint64(1)
                if x >= columns or x % where.step != 0:
                    continue
                if where.mode == _RANDOM and as_uniform(bits_at(key, y * columns + x)) >= where.share:
                    continue
                history.targets[y, word] |= np.uint64(1) << np.uint64(x & 63)
                any_here = np.uint64(1)
        history.rows[y >> 6] |= any_here << np.uint64(y & 63)


@kernel
def _forget_old(history: History, delays: int) -> None:
    """Clear the pixels of ``recent`` whose last event is older than any delay."""
    now = history.bins[OPEN]
    for row in range(history.recent.shape[0]):
        for word in range(history.recent.shape[1]):
            bits = history.recent[row, word]
            while bits != np.uint64(0):
                column = word * 64 + trailing_zeros(bits)
                bits &= bits - np.uint64(1)
                if now - history.stamp[row, column] >= delays:
                    history.recent[row, word] &= ~(np.uint64(1) << np.uint64(column & 63))


@kernel
def _reach_left(line: U64, width: int) -> None:
    """Bit x becomes whether any of the padded columns x .. x + width - 1 is set."""
    reached = 1
    while reached < width:
        step = min(reached, width - reached)
        for word in range(line.size):
            beyond = line[word + 1] if word + 1 < line.size else np.uint64(0)
            line[word] |= line[word] >> np.uint64(step) | beyond << np.uint64(64 - step)
        reached += step
