"""Camera bytes to events: Prophesee EVT2 and EVT3 as they come from a socket, and the 40-bit ATIS format.

EVT2 and EVT3 are decoded incrementally: whatever the bytes were cut into, the events are the same. Both
carry time as a high part now and then and a low part with the events; the high part wraps (EVT2 after
2^34 us, EVT3 after 2^24 us) and only its large fall is a wrap: a low part that falls is none.
Formats: Prophesee, "EVT 2.0 / EVT 3.0 format", public documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel
from kernels.columns import I64, XY, P, T

HIGH, WRAPS, LOW, ROW, COLUMN, SIGN, UNTIMED, TRIGGERS, UNKNOWN = range(9)
NO_HIGH = -1
BEYOND = 4096
"""A column that no camera of these formats has."""

Events = tuple[T, XY, XY, P]


def _blank() -> I64:
    state = np.zeros(9, np.int64)
    state[HIGH] = NO_HIGH
    return state


@dataclass
class Decoder:
    """What an incremental decoder remembers between cuts.

    Attributes:
        word_bytes: 4 for EVT2, 2 for EVT3.
        state: registers and counters; see the names above.
        rest: the bytes of a word that is not complete yet.
    """

    word_bytes: int
    state: I64 = field(default_factory=_blank)
    rest: bytes = b""

    @property
    def ignored(self) -> dict[str, int]:
        """Words that are no events: before the first time, triggers, types that nobody documents."""
        return {
            "untimed": int(self.state[UNTIMED]),
            "triggers": int(self.state[TRIGGERS]),
            "unknown_words": int(self.state[UNKNOWN]),
        }


def decode(decoder: Decoder, data: bytes | memoryview, t_zero_us: int = 0) -> Events:
    """Events in the next bytes of a stream, in the order in which they came.

    Args:
        decoder: updated in place.
        data: any cut of the stream; no ``%`` header.
        t_zero_us: stream time of the camera's time zero.
    """
    whole = decoder.rest + bytes(data)
    usable = len(whole) // decoder.word_bytes * decoder.word_bytes
    decoder.rest = whole[usable:]
    dtype = "<u4" if decoder.word_bytes == 4 else "<u2"
    # A copy, as kernels compile anew for read-only arrays.
    words = np.frombuffer(whole, dtype, usable // decoder.word_bytes).astype(dtype[1:])
    n = int(_count_evt2(words) if decoder.word_bytes == 4 else _count_evt3(words))
    t, x, y = np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16)
    p = np.empty(n, np.bool_)
    run = _decode_evt2 if decoder.word_bytes == 4 else _decode_evt3
    n = int(run(words, decoder.state, t_zero_us, t, x, y, p))
    return t[:n], x[:n], y[:n], p[:n]


def decode_aer40(data: bytes) -> Events:
    """Events of a 40-bit ATIS file: u8 x, u8 y, 1 bit p, 23 bits us, big-endian.

    Raises:
        ValueError: the length is no multiple of 5 bytes.
    """
    if len(data) % 5:
        raise ValueError(f"{len(data)} bytes are no multiple of 5")
    rows = np.frombuffer(data, np.uint8).reshape(-1, 5)
    t = (rows[:, 2] & 127).astype(np.int64) << 16 | rows[:, 3].astype(np.int64) << 8 | rows[:, 4]
    t += np.cumsum(np.diff(t, prepend=t[:1]) < -(2**22), dtype=np.int64) << 23  # 23 bits wrap after 8.4 s
    return t, rows[:, 0].astype(np.uint16), rows[:, 1].astype(np.uint16), rows[:, 2] >= 128


@kernel
def _count_evt2(words: NDArray[np.uint32]) -> int:
    n = 0
    for i in range(words.size):
        n += (words[i] >> np.uint32(28)) < 2
    return n


@kernel
def _decode_evt2(words: NDArray[np.uint32], state: I64, t_zero: int, t: T, x: XY, y: XY, p: P) -> int:
    n = 0
    for i in range(words.size):
        word = np.int64(words[i])
        kind = word >> 28
        if kind < 2:
            if state[HIGH] == NO_HIGH:
                state[UNTIMED] += 1
                continue
            t[n] = t_zero + (((state[WRAPS] << 28) + state[HIGH]) << 6) + ((word >> 22) & 63)
            x[n], y[n], p[n] = (word >> 11) & 2047, word & 2047, kind == 1
            n += 1
        elif kind == 8:
            high = word & 0xFFFFFFF
            if state[HIGH] - high > 2**27:
                state[WRAPS] += 1
            state[HIGH] = high
        elif kind == 10:
            state[TRIGGERS] += 1
        else:
            state[UNKNOWN] += 1
    return n


@kernel
def _count_evt3(words: NDArray[np.uint16]) -> int:
    n = 0
    for i in range(words.size):
        word = np.int64(words[i])
        kind = word >> 12
        if kind == 2:
            n += 1
        elif kind in (4, 5):
            bits = word & (0xFFF if kind == 4 else 0xFF)
            while bits:
                bits &= bits - 1
                n += 1
    return n


@kernel
def _decode_evt3(words: NDArray[np.uint16], state: I64, t_zero: int, t: T, x: XY, y: XY, p: P) -> int:
    n = 0
    for i in range(words.size):
        word = np.int64(words[i])
        kind = word >> 12
        now = t_zero + (((state[WRAPS] << 12) + state[HIGH]) << 12) + state[LOW]
        if kind == 0:
            state[ROW] = word & 2047
        elif kind == 2:
            if state[HIGH] == NO_HIGH:
                state[UNTIMED] += 1
                continue
            t[n], x[n], y[n], p[n] = now, word & 2047, state[ROW], (word >> 11) & 1
            n += 1
        elif kind == 3:
            state[COLUMN], state[SIGN] = word & 2047, (word >> 11) & 1
        elif kind in (4, 5):
            width = 12 if kind == 4 else 8
            for bit in range(width):
                if (word >> bit) & 1:
                    if state[HIGH] == NO_HIGH:
                        state[UNTIMED] += 1
                        continue
                    t[n], x[n], y[n], p[n] = now, state[COLUMN] + bit, state[ROW], state[SIGN]
                    n += 1
            # Vectors without end must not wrap around into columns that exist.
            state[COLUMN] = min(state[COLUMN] + width, BEYOND)
        elif kind == 6:
            state[LOW] = word & 4095
        elif kind == 8:
            high = word & 4095
            if state[HIGH] - high > 2048:
                state[WRAPS] += 1
            # Low parts belong to their high part; one that follows has not been seen yet.
            if state[HIGH] != high:
                state[LOW] = 0
            state[HIGH] = high
        elif kind == 10:
            state[TRIGGERS] += 1
        elif kind not in (7, 14, 15):
            state[UNKNOWN] += 1
    return n
