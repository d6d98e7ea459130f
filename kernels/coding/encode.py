"""Events to camera bytes: Prophesee EVT2 and EVT3, the other way round from :mod:`kernels.coding.decode`.

Incremental: whatever the events were cut into, the bytes are the same. The high part of the time is written
whenever it changes; where it would wrap unseen because nothing happened meanwhile, it is written on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.coding.decode import Triggers, no_triggers
from kernels.coding.events import is_sorted
from kernels.columns import I64, XY, P, T

HIGH, LOW, ROW = range(3)
UNKNOWN = -1
WRAP_US = {4: 2**34, 2: 2**24}
"""After which the clock of EVT2 (words of 4 bytes) and EVT3 (2) starts again."""
MOST_WRAPS = 100_000
LARGEST = 2048
"""Columns and rows that fit, and no more."""
MOST_WORDS = {4: 3, 2: 5}
"""Words that one record takes at most: two of the high part's, in EVT3 also the low part and the row, and its own."""
WORDS_A_WRAP = 3
"""Words that one wrap of the clock takes at most: two on the way to its end, and its new beginning."""


@dataclass
class Encoder:
    """What an incremental encoder remembers.

    Attributes:
        word_bytes: 4 for EVT2, 2 for EVT3.
        state: high part (all bits), low part and row that were last written.
    """

    word_bytes: int
    state: I64 = field(default_factory=lambda: np.full(3, UNKNOWN, np.int64))


def encode(encoder: Encoder, events: tuple[T, XY, XY, P], triggers: Triggers | None = None) -> bytes:
    """The next bytes of a recording.

    Args:
        encoder: updated in place.
        events: columns t, x, y, p, in order of time, not before those before.
        triggers: rows t, channel, level in order of time, which are put between.

    Raises:
        ValueError: a coordinate that does not fit, a time below 0 or that falls, or a step over more wraps of the
            clock than anyone would read.
    """
    t, x, y, p = events
    marks = no_triggers() if triggers is None else triggers
    if len(t) == 0 and len(marks) == 0:
        return b""
    if len(t) and max(int(x.max()), int(y.max())) >= LARGEST:
        raise ValueError(f"holds columns and rows below {LARGEST}, not {int(x.max())}, {int(y.max())}")
    shift = 6 if encoder.word_bytes == 4 else 12
    first = min(int(t[0]) if len(t) else 2**62, int(marks[0, 0]) if len(marks) else 2**62)
    if first < 0:
        raise ValueError(f"holds times from 0 on, not {first} us")
    if (
        first >> shift < encoder.state[HIGH]
        or not is_sorted(t)
        or not is_sorted(np.ascontiguousarray(marks[:, 0]))
    ):
        raise ValueError("holds events and triggers in order of time only")
    wrap_us = WRAP_US[encoder.word_bytes]
    newest = max(int(t[-1]) if len(t) else 0, int(marks[-1, 0]) if len(marks) else 0)
    behind = max(0, int(encoder.state[HIGH])) << shift
    wraps = (newest - behind) // wrap_us + 1
    if wraps > MOST_WRAPS:
        raise ValueError(f"would wrap its clock of {wrap_us} us {wraps} times")
    most = MOST_WORDS[encoder.word_bytes] * (len(t) + len(marks)) + WORDS_A_WRAP * wraps
    words = np.empty(most, np.uint32 if encoder.word_bytes == 4 else np.uint16)
    run: Any = _encode_evt2 if encoder.word_bytes == 4 else _encode_evt3
    n = int(run(t, x, y, p, marks, encoder.state, words))
    return words[:n].astype(words.dtype.newbyteorder("<"), copy=False).tobytes()


@kernel
def _encode_evt2(t: T, x: XY, y: XY, p: P, triggers: Triggers, state: I64, words: NDArray[np.uint32]) -> int:
    n = i = m = 0
    while i < t.size or m < triggers.shape[0]:
        is_event = m == triggers.shape[0] or (i < t.size and t[i] <= triggers[m, 0])
        now = t[i] if is_event else triggers[m, 0]
        n = _high(now >> 6, 28, 8, state, words, n)
        low = (now & 63) << 22
        if is_event:
            words[n] = (np.int64(p[i]) << 28) | low | (np.int64(x[i]) << 11) | np.int64(y[i])
            i += 1
        else:
            words[n] = (10 << 28) | low | ((triggers[m, 1] & 31) << 8) | (triggers[m, 2] & 1)
            m += 1
        n += 1
    return n


@kernel
def _encode_evt3(t: T, x: XY, y: XY, p: P, triggers: Triggers, state: I64, words: NDArray[np.uint16]) -> int:
    n = i = m = 0
    while i < t.size or m < triggers.shape[0]:
        is_event = m == triggers.shape[0] or (i < t.size and t[i] <= triggers[m, 0])
        now = t[i] if is_event else triggers[m, 0]
        before = state[HIGH]
        n = _high(now >> 12, 12, 8, state, words, n)
        if state[HIGH] != before or state[LOW] != now & 4095:
            words[n] = (6 << 12) | (now & 4095)
            state[LOW] = now & 4095
            n += 1
        if is_event:
            if state[ROW] != y[i]:
                words[n] = np.int64(y[i])
                state[ROW] = y[i]
                n += 1
            words[n] = (2 << 12) | (np.int64(p[i]) << 11) | np.int64(x[i])
            i += 1
        else:
            words[n] = (10 << 12) | ((triggers[m, 1] & 15) << 8) | (triggers[m, 2] & 1)
            m += 1
        n += 1
    return n


@kernel
def _high(high: int, bits: int, kind: int, state: I64, words: NDArray[Any], n: int) -> int:
    """Write the high part where it has changed, and each time it passes through its end on the way."""
    last = state[HIGH]
    if high == last:
        return n
    end, mark = np.int64((1 << bits) - 1), np.int64(kind) << bits
    turn, low = (np.int64(0), np.int64(-1)) if last == UNKNOWN else (last >> bits, last & end)
    while turn < high >> bits:
        n = _step(low, end, turn, bits, mark, words, n)
        words[n] = mark
        n += 1
        turn, low = turn + 1, np.int64(0)
    state[HIGH] = high
    return _step(low, high & end, turn, bits, mark, words, n)


@kernel
def _step(low: int, new: int, turn: int, bits: int, mark: int, words: NDArray[Any], n: int) -> int:
    """Write a high part of the same turn, where it is new; by way of the middle, where a reader of what has
    wrapped before might take it for a step back."""
    if new == low:
        return n
    if turn > 0 and new - low > 7 << (bits - 3):
        words[n] = mark | (low + (new - low) // 2)
        n += 1
    words[n] = mark | new
    return n + 1
