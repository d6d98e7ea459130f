"""Numbered rows of one output, kept for a while on disk, for any number of readers.

Rows have a fixed size, so row n lies at (n mod capacity) of a file: old rows are overwritten, memory
does not grow, and a reader that is too slow finds out by comparing with the oldest row.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine import Result
from pipeline.rows import Rows, layout
from pipeline.stage import Port

_MAX_GAPS = 1000
_MOST_BUILT = 4


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
        if known:
            self._recall(known)
            if not path.exists():  # a snapshot that came from elsewhere, without its rows
                self.oldest = self.head.next_row
        fresh = 0 if known else os.O_TRUNC
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | fresh, 0o600)
        self._built: dict[tuple[str | int, ...], bytes] = {}
        self._closing = threading.Lock()
        self._open = True

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
            "capacity": self._capacity, "gaps_so_far": self.gaps_so_far,
            "gaps": [[gap.number, gap.row, gap.from_us, gap.to_us] for gap in self.gaps],
        }  # fmt: skip

    def _recall(self, known: dict[str, Any]) -> None:
        self.head = Head(known["next_row"], known["watermark_us"])
        self.oldest, self._capacity = known["oldest"], known["capacity"]
        self.gaps_so_far = known["gaps_so_far"]
        self.gaps.extend(GapMark(*gap) for gap in known["gaps"])

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
