"""Numbered rows of one output, kept for a while on disk, for any number of readers.

Rows have a fixed size, so row n lies at (n mod capacity) of a file: old rows are overwritten, memory
does not grow, and a reader that is too slow finds out by comparing with the oldest row.

After a power cut the file may hold zeros, or rows of the round before, where the disk did not get to know of a
write. Blocks of the file have checksums, which a snapshot holds: what does not match is gone, and told so.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine import Result
from pipeline.rows import Rows, layout
from pipeline.stage import Port

_MAX_GAPS = 1000
_MOST_BUILT = 4
_BLOCKS = 64


class Lagged(Exception):
    """Rows that are no longer kept.

    Args:
        oldest: the first row that is.
    """

    def __init__(self, oldest: int) -> None:
        super().__init__(f"rows before {oldest} are gone")
        self.oldest = oldest


@dataclass(frozen=True)
class GapMark:
    """A hole in the stream, before row ``row``; the ``number``-th of its output."""

    number: int
    row: int
    from_us: int
    to_us: int


@dataclass(frozen=True)
class Head:
    """How far an output has come, since ``made_s``: rows below ``next_row`` exist, before ``watermark_us``."""

    next_row: int = 0
    watermark_us: int | None = None
    made_s: float = 0.0


class Feed:
    """One output's rows.

    Args:
        index: of the output, as the wire's ``code``.
        name: of the output.
        port: what its rows are.
        path: a file that is overwritten.
        capacity_bytes: how much is kept.
        known: what :meth:`snapshot` said before a restart: the file's rows up to then are kept.
    """

    def __init__(
        self, index: int, name: str, port: Port, path: Path, capacity_bytes: int,
        known: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.index, self.name, self.port = index, name, port
        self.dtype = layout(port)
        self.head = Head()
        self.oldest = 0
        self.gaps: deque[GapMark] = deque(maxlen=_MAX_GAPS)
        self.gaps_so_far = 0
        self._capacity = max(1, capacity_bytes // self.dtype.itemsize)
        self._closing = threading.Lock()
        self._open = True
        self._built: dict[tuple[str | int, ...], bytes] = {}
        if known:
            self._recall(known)
        is_there = path.exists()
        # A snapshot that came from elsewhere comes without its rows, and its sums are of another file.
        self._sums = _Sums(self._capacity, known.get("sums") if known and is_there else None)
        fresh = 0 if known else os.O_TRUNC
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | fresh, 0o600)
        self.lost_rows = 0
        """Rows that were there before a restart, and that the disk has not got; see :meth:`count_lost`."""
        self._had_from, self._whole_from = self.oldest, 0
        if known and is_there and "sums" in known:
            self._look_what_is_there()
        elif known and not is_there:
            self.oldest = self._whole_from = self.head.next_row

    def publish(self, result: Result) -> None:
        """Take in the next rows; from one thread only."""
        rows = result.rows[-self._capacity :]
        first, n = result.first_row + len(result.rows) - len(rows), len(rows)
        # Readers must see that rows are going before they are overwritten.
        self.oldest = max(self.oldest, first + n - self._capacity)
        at = first % self._capacity
        fits = min(n, self._capacity - at)
        self._write(rows[:fits], at)
        self._write(rows[fits:], 0)
        for gap in result.gaps:
            self.gaps.append(GapMark(self.gaps_so_far, result.first_row, gap.from_us, gap.to_us))
            self.gaps_so_far += 1
        self.head = Head(first + n, result.watermark_us, time.monotonic())

    def read(self, first: int, most: int) -> Rows:
        """Up to ``most`` rows from row ``first`` on.

        Raises:
            Lagged: some of them are gone.
        """
        n = min(most, self.head.next_row - first)
        if first < self.oldest:
            raise Lagged(self.oldest)
        if n <= 0:
            return np.empty(0, self.dtype)
        at = first % self._capacity
        fits = min(n, self._capacity - at)
        data = self._read(fits, at) + self._read(n - fits, 0)
        if first < self.oldest:
            raise Lagged(self.oldest)
        return np.frombuffer(data, self.dtype)

    def message(self, *key: str | int) -> bytes | None:
        """What was built for another reader that stands where this one does; from the event loop's thread only."""
        return self._built.get(key)

    def keep_message(self, message: bytes, *key: str | int) -> bytes:
        """Remember what was built, for readers who come next."""
        if len(self._built) >= _MOST_BUILT:
            self._built.pop(next(iter(self._built)))
        self._built[key] = message
        return message

    def snapshot(self) -> dict[str, Any]:
        """What must be known to go on with the rows in the file."""
        return {
            "next_row": self.head.next_row, "watermark_us": self.head.watermark_us, "oldest": self.oldest,
            "capacity": self._capacity, "sums": self._sums.snapshot(), "gaps_so_far": self.gaps_so_far,
            "gaps": [[gap.number, gap.row, gap.from_us, gap.to_us] for gap in self.gaps],
        }  # fmt: skip

    def _recall(self, known: dict[str, Any]) -> None:
        self.head = Head(known["next_row"], known["watermark_us"])
        self.oldest, self._capacity = known["oldest"], known["capacity"]
        self.gaps_so_far = known["gaps_so_far"]
        self.gaps.extend(GapMark(*gap) for gap in known["gaps"])

    def sync(self) -> None:
        """Wait until the disk has all rows."""
        os.fdatasync(self._file)

    def count_lost(self) -> int:
        """How many rows a power cut took, once the log is replayed: what was overwritten was to go anyway."""
        to_go = self.head.next_row - self._capacity + self._sums.block
        self.lost_rows = max(0, self._whole_from - max(self._had_from, to_go))
        return self.lost_rows

    def _look_what_is_there(self) -> None:
        """Rows before the last block that is not as it was written are gone."""
        first = self.head.next_row
        for slot, rows, crc in self._sums.before(first):
            if zlib.crc32(self._read(rows, slot)) != crc:
                self._whole_from = first
                self._sums.forget_behind(self.head.next_row, first)
                break
            first -= rows
        self.oldest = max(self.oldest, first)

    def close(self) -> None:
        """Let go of the file."""
        with self._closing:
            if self._open:
                self._open = False
                os.close(self._file)

    def _write(self, rows: Rows, at: int) -> None:
        if len(rows) == 0:
            return
        data = memoryview(rows.tobytes())
        self._sums.add(at, data, self.dtype.itemsize)
        offset = at * self.dtype.itemsize
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    def _read(self, n: int, at: int) -> bytes:
        if n == 0:
            return b""
        with self._closing:  # a number that belongs to another file by now must not be read
            if not self._open:
                raise OSError("the rows are gone")
            return os.pread(self._file, n * self.dtype.itemsize, at * self.dtype.itemsize)


class _Sums:
    """CRC-32 of each block of a file of rows: of rows that lie one behind the other in it, up to the last written.

    Args:
        capacity: of the file, rows.
        known: what :meth:`snapshot` said.
    """

    def __init__(self, capacity: int, known: list[list[int]] | None) -> None:
        self._capacity, self.block = capacity, -(-capacity // _BLOCKS)
        n = -(-capacity // self.block)
        self._all = [(start, stop, crc) for start, stop, crc in known] if known else [(0, 0, 0)] * n
        """(first row in the block that is summed up, the one behind the last, their sum)"""

    def add(self, at: int, data: memoryview, row_bytes: int) -> None:
        """Rows were written from the slot ``at`` on; they do not reach beyond the file's end."""
        while data:
            number, inside = divmod(at, self.block)
            part = data[: (self.block - inside) * row_bytes]
            start, stop, crc = self._all[number]
            if stop != inside or inside == 0:
                start, crc = inside, 0
            n = len(part) // row_bytes
            self._all[number] = start, inside + n, zlib.crc32(part, crc)
            at, data = at + n, data[len(part) :]

    def before(self, row: int) -> Iterator[tuple[int, int, int]]:
        """(slot, rows, sum) of what lies before a row, the newest first, as far back as sums go."""
        last, n = (row - 1) % self._capacity, len(self._all)
        newest, end = last // self.block, last % self.block + 1
        for back in range(n if row else 0):
            number = (newest - back) % n
            first = number * self.block
            start, stop, crc = self._all[number]
            if stop != end or start == stop:
                return
            yield first + start, stop - start, crc
            if start > 0:
                return
            before = (number - 1) % n
            end = min(self.block, self._capacity - before * self.block)

    def forget_behind(self, row: int, first: int) -> None:
        """What lies before the row ``first`` is gone, and ``row`` comes next."""
        places = [*range(first, row, self.block), row - 1] if first < row else []
        kept = {one % self._capacity // self.block for one in places}
        self._all = [entry if k in kept else (0, 0, 0) for k, entry in enumerate(self._all)]

    def snapshot(self) -> list[list[int]]:
        """What must be known to go on."""
        return [[*entry] for entry in self._all]
