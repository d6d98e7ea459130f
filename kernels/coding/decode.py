"""Camera bytes to events: Prophesee EVT2, EVT2.1 and EVT3 as they come from a socket, SPIF words, and the
40-bit ATIS format.

Prophesee's are decoded incrementally: whatever the bytes were cut into, the events are the same. All carry time
as a high part now and then and a low part with the events; the high part wraps (EVT2 after 2^34 us, EVT3 after
2^24 us) and only its large fall is a wrap: a low part that falls is none.
Formats: Prophesee, "EVT 2.0 / EVT 2.1 / EVT 3.0 format", public documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels.columns import I64, XY, P, T

HIGH, WRAPS, LOW, ROW, COLUMN, SIGN, UNTIMED, TRIGGERS, UNKNOWN = range(9)
NO_HIGH = -1
BEYOND = 4096
"""A column that no camera of these formats has."""
_VECTOR = 32
"""Events that one word can hold at most (EVT2.1; 12 in EVT3)."""

Events = tuple[T, XY, XY, P]
Triggers = NDArray[np.int64]
"""Edges on the camera's trigger inputs [n, 3]: t (us), channel, level."""


def no_triggers() -> Triggers:
    """None at all."""
    return np.empty((0, 3), np.int64)


def _blank() -> I64:
    state = np.zeros(9, np.int64)
    state[HIGH] = NO_HIGH
    return state


@dataclass
class Decoder:
    """What an incremental decoder remembers between cuts.

    Attributes:
        word_bytes: 4 for EVT2, 8 for EVT2.1, 2 for EVT3.
        state: registers and counters; see the names above.
        rest: the bytes of a word that is not complete yet.
        triggers: what the last cut held beside its events.
        per_word: events per word seen lately: how much room the next cut is given.
        swapped: the 32-bit halves of words of 8 bytes come upper half first (EVT2.1 ``endianness=legacy``).
    """

    word_bytes: int
    state: I64 = field(default_factory=_blank)
    rest: bytes = b""
    triggers: Triggers = field(default_factory=no_triggers)
    per_word: float = 1.0
    swapped: bool = False

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

    Triggers among them are left in ``decoder.triggers``.

    Args:
        decoder: updated in place.
        data: any cut of the stream; no ``%`` header.
        t_zero_us: stream time of the camera's time zero.
    """
    words = _words(decoder, data)
    run = _RUN[decoder.word_bytes]
    columns = _columns(int(words.size * decoder.per_word * 1.1) + 64)
    triggers = np.empty((16, 3), np.int64)
    i = n = m = 0
    while True:  # no word is counted before it is decoded: where the room was too small, there is more
        i, n, m = (int(v) for v in run(words, i, decoder.state, t_zero_us, *columns, n, triggers, m))
        if i == words.size:
            break
        if n + _VECTOR > len(columns[0]):
            columns = _larger(columns, n, max(64, (words.size - i) * n // max(i, 1)) + n)
        if m == len(triggers):
            triggers = np.concatenate([triggers, np.empty_like(triggers)])
    if words.size > 1000:
        decoder.per_word = n / words.size
    decoder.triggers = triggers[:m]
    t, x, y, p = columns
    return t[:n], x[:n], y[:n], p[:n]


def _words(decoder: Decoder, data: bytes | memoryview) -> NDArray[Any]:
    """The whole words of what was left over and ``data``; what follows them is kept."""
    dtype = np.dtype(f"<u{decoder.word_bytes}")
    if decoder.rest:
        data = decoder.rest + bytes(data)
    words = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
    decoder.rest = bytes(data[words.nbytes :])
    if decoder.swapped and decoder.word_bytes == 8:
        return words >> np.uint64(32) | words << np.uint64(32)
    # Kernels compile anew for read-only or unaligned arrays.
    return words if words.flags.writeable and words.flags.aligned else words.copy()


def _columns(n: int) -> Events:
    return np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.bool_)


def _larger(columns: Events, n: int, room: int) -> Events:
    larger = _columns(room + _VECTOR)
    for old, new in zip(columns, larger, strict=True):
        new[:n] = old[:n]
    return larger


@dataclass
class SpifDecoder:
    """What a receiver of SPIF words remembers.

    Attributes:
        state: low 32 bits of the last time, how often they wrapped, words whose time was cut off.
    """

    state: I64 = field(default_factory=lambda: np.zeros(3, np.int64))


def decode_spif(decoder: SpifDecoder, packets: list[bytes], now_us: list[int]) -> Events:
    """Events in datagrams of SPIF words: bit 31 = no time follows, 15 bits x, 1 bit p, 15 bits y.

    A word with bit 31 clear is followed by 32 bits of us, which wrap; the others get the time at which their
    datagram came.

    Args:
        decoder: updated in place.
        packets: datagrams as they came; bytes that are no whole word at their end are left out.
        now_us: when each of them came.
    """
    words = np.frombuffer(b"".join(one[: len(one) // 4 * 4] for one in packets), "<u4").astype(np.uint32)
    ends = np.cumsum([len(one) // 4 for one in packets], dtype=np.int64)
    columns = _columns(len(words))
    n = int(_decode_spif(words, ends, np.array(now_us, np.int64), decoder.state, *columns))
    t, x, y, p = columns
    return t[:n], x[:n], y[:n], p[:n]


@dataclass
class Clock:
    """A clock of few bits that is followed through its wraps.

    Attributes:
        bits: how many.
        state: its last value (-1 before the first), and how often it has wrapped.
    """

    bits: int
    state: I64 = field(default_factory=lambda: np.array([-1, 0], np.int64))

    @property
    def wraps(self) -> int:
        """How often it has wrapped."""
        return int(self.state[1])


def unwrap(clock: Clock, low: I64) -> T:
    """Times in us of a clock's values [n], in any cuts.

    A fall by more than half its range is a wrap; a rise by more than 7/8 of it just after one is an event that
    comes a little late from before.
    """
    t = np.empty(len(low), np.int64)
    _unwrap(low, clock.bits, clock.state, t)
    return t


def decode_aer40(data: bytes, clock: Clock | None = None) -> Events:
    """Events of a 40-bit ATIS file: u8 x, u8 y, 1 bit p, 23 bits us, big-endian.

    Args:
        data: whole events.
        clock: followed from cut to cut; a fresh one where None.

    Raises:
        ValueError: the length is no multiple of 5 bytes.
    """
    if len(data) % 5:
        raise ValueError(f"{len(data)} bytes are no multiple of 5")
    rows = np.frombuffer(data, np.uint8).reshape(-1, 5)
    low = (rows[:, 2] & 127).astype(np.int64) << 16 | rows[:, 3].astype(np.int64) << 8 | rows[:, 4]
    t = unwrap(clock or Clock(23), low)  # 23 bits wrap after 8.4 s
    return t, rows[:, 0].astype(np.uint16), rows[:, 1].astype(np.uint16), rows[:, 2] >= 128


@kernel
def _turn(last: int, low: int, bits: int, wraps: int) -> int:
    """1 where a clock has wrapped, -1 where it steps back over its last wrap, else 0; unknown is below 0."""
    if last < 0:
        return 0
    if last - low > (1 << (bits - 1)):
        return 1
    return -1 if wraps > 0 and low - last > (7 << (bits - 3)) else 0


@kernel
def _unwrap(low: I64, bits: int, state: I64, t: T) -> None:
    for i in range(low.size):
        state[1] += _turn(state[0], low[i], bits, state[1])
        state[0] = low[i]
        t[i] = (state[1] << bits) + low[i]


@kernel
def _decode_evt2(
    words: NDArray[np.uint32], i: int, state: I64, t_zero: int, t: T, x: XY, y: XY, p: P, n: int,
    triggers: Triggers, m: int,
) -> tuple[int, int, int]:  # fmt: skip
    high, wraps = state[HIGH], state[WRAPS]
    base = t_zero + (((wraps << 28) + high) << 6)
    room, room_triggers = np.uint64(t.size - _VECTOR), triggers.shape[0]
    at, end, out = np.uint64(i), np.uint64(words.size), np.uint64(n)  # unsigned: nothing counts from the end
    while at < end and out <= room and m < room_triggers:
        word = words[at]
        kind = word >> np.uint32(28)
        at += np.uint64(1)
        if kind < 2:
            if high == NO_HIGH:
                state[UNTIMED] += 1
            else:
                t[out] = base + np.int64((word >> np.uint32(22)) & np.uint32(63))
                x[out] = np.uint16((word >> np.uint32(11)) & np.uint32(2047))
                y[out] = np.uint16(word & np.uint32(2047))
                p[out] = kind == 1
                out += np.uint64(1)
        elif kind == 8:
            new = np.int64(word & np.uint32(0xFFFFFFF))
            wraps += _turn(high, new, 28, wraps)
            high = new
            base = t_zero + (((wraps << 28) + high) << 6)
        elif kind == 10:
            state[TRIGGERS] += 1
            if high != NO_HIGH:
                triggers[m, 0] = base + np.int64((word >> np.uint32(22)) & np.uint32(63))
                triggers[m, 1] = np.int64((word >> np.uint32(8)) & np.uint32(31))
                triggers[m, 2] = np.int64(word & np.uint32(1))
                m += 1
        elif kind < 14:  # 14 and 15 carry what is not of pixels, such as counts and words of a maker's own
            state[UNKNOWN] += 1
    state[HIGH], state[WRAPS] = high, wraps
    return int(at), int(out), m


@kernel
def _decode_evt21(
    words: NDArray[np.uint64], i: int, state: I64, t_zero: int, t: T, x: XY, y: XY, p: P, n: int,
    triggers: Triggers, m: int,
) -> tuple[int, int, int]:  # fmt: skip
    high, wraps = state[HIGH], state[WRAPS]
    base = t_zero + (((wraps << 28) + high) << 6)
    room, room_triggers = t.size - _VECTOR, triggers.shape[0]
    while i < words.size and n <= room and m < room_triggers:
        # The upper half is an EVT2 word whose coordinates begin a vector of 32 pixels, the lower half.
        upper = np.int64(words[i] >> np.uint64(32))
        bits = words[i] & np.uint64(0xFFFFFFFF)
        kind, low = upper >> 28, (upper >> 22) & 63
        i += 1
        if kind < 2:
            while bits:
                if high == NO_HIGH:
                    state[UNTIMED] += 1
                else:
                    t[n], x[n] = base + low, ((upper >> 11) & 2047) + trailing_zeros(bits)
                    y[n], p[n] = upper & 2047, kind == 1
                    n += 1
                bits &= bits - np.uint64(1)
        elif kind == 8:
            new = upper & 0xFFFFFFF
            wraps += _turn(high, new, 28, wraps)
            high = new
            base = t_zero + (((wraps << 28) + high) << 6)
        elif kind == 10:
            state[TRIGGERS] += 1
            if high != NO_HIGH:
                triggers[m, 0], triggers[m, 1], triggers[m, 2] = base + low, (upper >> 8) & 31, upper & 1
                m += 1
        elif kind < 14:  # see _decode_evt2
            state[UNKNOWN] += 1
    state[HIGH], state[WRAPS] = high, wraps
    return i, n, m


@kernel
def _decode_evt3(
    words: NDArray[np.uint16], i: int, state: I64, t_zero: int, t: T, x: XY, y: XY, p: P, n: int,
    triggers: Triggers, m: int,
) -> tuple[int, int, int]:  # fmt: skip
    if state[HIGH] == NO_HIGH:
        i = _until_the_first_time(words, i, state)
    # Registers live in locals: written to memory once a word they cost half the speed.
    high, wraps, low = state[HIGH], state[WRAPS], state[LOW]
    row, column, sign, unknown = np.uint16(state[ROW]), state[COLUMN], state[SIGN] != 0, state[UNKNOWN]
    base = t_zero + (((wraps << 12) + high) << 12)
    room, room_triggers = np.uint64(t.size - _VECTOR), triggers.shape[0]
    at, end, out = np.uint64(i), np.uint64(words.size), np.uint64(n)  # unsigned: nothing counts from the end
    while at < end and out <= room and m < room_triggers:
        word = words[at]
        kind = word >> np.uint16(12)
        at += np.uint64(1)
        if kind <= 2:
            # Rows and events follow each other as the scene pleases. A branch between them would be guessed
            # wrong every other time: a row, too, is written as an event, which the next one overwrites.
            value = word & np.uint16(2047)
            row = value if kind == 0 else row
            t[out], x[out], y[out] = base + low, value, row
            p[out] = (word & np.uint16(2048)) != 0
            out += np.uint64(kind >> np.uint16(1))
            unknown += np.int64(kind == 1)
        elif kind == 6:
            low = np.int64(word & np.uint16(4095))
        elif kind == 3:
            column, sign = np.int64(word & np.uint16(2047)), (word & np.uint16(2048)) != 0
        elif kind <= 5:
            bits = np.uint64(word & np.uint16(0xFFF if kind == 4 else 0xFF))
            now = base + low
            while bits:
                t[out], x[out], y[out], p[out] = now, column + trailing_zeros(bits), row, sign
                out += np.uint64(1)
                bits &= bits - np.uint64(1)
            # Vectors without end must not wrap around into columns that exist.
            column = min(column + (12 if kind == 4 else 8), BEYOND)
        elif kind == 8:
            new = np.int64(word & np.uint16(4095))
            wraps += _turn(high, new, 12, wraps)
            # Low parts belong to their high part; one that follows has not been seen yet.
            low = low if new == high else np.int64(0)
            high = new
            base = t_zero + (((wraps << 12) + high) << 12)
        elif kind == 10:
            state[TRIGGERS] += 1
            triggers[m, 0] = base + low
            triggers[m, 1] = np.int64((word >> np.uint16(8)) & np.uint16(15))
            triggers[m, 2] = np.int64(word & np.uint16(1))
            m += 1
        elif kind not in (7, 14, 15):
            unknown += 1
    state[HIGH], state[WRAPS], state[LOW] = high, wraps, low
    state[ROW], state[COLUMN], state[SIGN], state[UNKNOWN] = row, column, sign, unknown
    return int(at), int(out), m


@kernel
def _until_the_first_time(words: NDArray[np.uint16], i: int, state: I64) -> int:
    """Where the first TIME_HIGH stands: what comes before it has no time and is counted."""
    while i < words.size:
        word = np.int64(words[i])
        kind = word >> 12
        if kind == 0:
            state[ROW] = word & 2047
        elif kind == 2:
            state[UNTIMED] += 1
        elif kind == 3:
            state[COLUMN], state[SIGN] = word & 2047, (word >> 11) & 1
        elif kind in (4, 5):
            bits = word & (0xFFF if kind == 4 else 0xFF)
            while bits:
                state[UNTIMED] += 1
                bits &= bits - 1
            state[COLUMN] = min(state[COLUMN] + (12 if kind == 4 else 8), BEYOND)
        elif kind == 6:
            state[LOW] = word & 4095
        elif kind == 8:
            state[HIGH] = word & 4095
            state[LOW] = 0
            return i + 1
        elif kind == 10:
            state[TRIGGERS] += 1
        elif kind not in (7, 14, 15):
            state[UNKNOWN] += 1
        i += 1
    return i


@kernel
def _decode_spif(words: NDArray[np.uint32], ends: I64, now: I64, state: I64, t: T, x: XY, y: XY, p: P) -> int:
    n = i = 0
    for packet in range(ends.size):
        while i < ends[packet]:
            word = np.int64(words[i])
            i += 1
            if word >> 31:
                t[n] = now[packet]
            elif i < ends[packet]:
                low = np.int64(words[i])
                i += 1
                state[1] += _turn(state[0], low, 32, state[1])
                state[0] = low
                t[n] = (state[1] << 32) + low
            else:
                state[2] += 1
                continue
            x[n], y[n], p[n] = (word >> 16) & 0x7FFF, word & 0x7FFF, (word >> 15) & 1
            n += 1
    return n


_RUN = {4: _decode_evt2, 8: _decode_evt21, 2: _decode_evt3}
"""By the bytes of a word."""
