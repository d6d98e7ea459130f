"""Numbered rows of one output, kept for a while, for any number of readers.

Rows have a fixed size, so row n lies at (n mod capacity) of a ring: old rows are overwritten, memory does not grow,
and a reader that is too slow finds out by comparing with the oldest row.

Rows are written as they are computed, and shown to readers once the frames that they come from are durable: a row
that a reader has seen can be computed again after any crash.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.engine import Result
from pipeline.rows import Rows, layout
from pipeline.stage import Port
from service.storage.ports import RowFile

_MAX_GAPS = 1000
_MOST_BUILT = 4

OpenRows = Callable[[int, int, list[list[int]] | None, bool], RowFile]
"""(bytes of a row, rows in the ring, checksums of its content, whether it begins empty) to the ring."""


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


@dataclass(frozen=True)
class _Computed:
    """Rows that are written, and not shown before frame ``frame`` is durable."""

    frame: int
    head: Head
    gaps: tuple[GapMark, ...]


class RowStore:
    """One output's rows.

    Args:
        index: of the output, as the wire's ``code``.
        name: of the output.
        port: what its rows are.
        open_rows: opens the ring.
        capacity_bytes: how much is kept.
        known: what :meth:`snapshot` said before a restart: the ring's rows up to then are kept.
    """

    def __init__(
        self, index: int, name: str, port: Port, open_rows: OpenRows, capacity_bytes: int,
        known: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.index, self.name, self.port = index, name, port
        self.dtype = layout(port)
        self.head = Head()
        """What readers may read: rows of durable frames."""
        self.oldest = 0
        self.gaps: deque[GapMark] = deque(maxlen=_MAX_GAPS)
        self.gaps_so_far = 0
        self._capacity = max(1, capacity_bytes // self.dtype.itemsize)
        self._computed: deque[_Computed] = deque()
        self._built: dict[tuple[str | int, ...], bytes] = {}
        if known:
            self._recall(known)
        self._next_gap = self.gaps_so_far
        sums = known.get("sums") if known else None
        self.file = open_rows(self.dtype.itemsize, self._capacity, sums, not known)
        self.lost_rows = 0
        """Rows that were there before a restart, and that the disk has not got; see :meth:`count_lost`."""
        self._had_from, self._whole_from = self.oldest, 0
        if known:
            try:
                self._check_what_is_there(has_sums=sums is not None)
            except BaseException:
                self.file.close()
                raise

    def write(self, result: Result, frame: int) -> None:
        """Take in the next rows, computed from frames up to ``frame``; from one thread only."""
        rows = result.rows[-self._capacity :]
        first, n = result.first_row + len(result.rows) - len(rows), len(rows)
        # Readers must see that rows are going before they are overwritten.
        self.oldest = max(self.oldest, first + n - self._capacity)
        slot = first % self._capacity
        fits = min(n, self._capacity - slot)
        self._write(rows[:fits], slot)
        self._write(rows[fits:], 0)
        gaps = tuple(
            GapMark(self._next_gap + i, result.first_row, gap.from_us, gap.to_us)
            for i, gap in enumerate(result.gaps)
        )
        self._next_gap += len(gaps)
        head = Head(first + n, result.watermark_us, time.monotonic())
        self._computed.append(_Computed(frame, head, gaps))

    @property
    def computed(self) -> Head:
        """Where the output stands with all rows that are written, shown or not; for the thread that writes."""
        return self._computed[-1].head if self._computed else self.head

    def release(self, durable: int) -> None:
        """Show the rows of frames up to ``durable``; from the thread that writes."""
        computed = self._computed
        while computed and computed[0].frame <= durable:
            one = computed.popleft()
            self.gaps.extend(one.gaps)
            self.gaps_so_far += len(one.gaps)
            # Last: whoever sees the new head must find its gaps.
            self.head = one.head

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
        slot = first % self._capacity
        fits = min(n, self._capacity - slot)
        # The ring's end and, where it wraps, its beginning.
        data = self.file.read(slot, fits) + self.file.read(0, n - fits)
        # Once more: the writer may have come round while they were read.
        if first < self.oldest:
            raise Lagged(self.oldest)
        return np.frombuffer(data, self.dtype)

    def message(self, *key: str | int) -> bytes | None:
        """What was built for another reader that stands where this one does; from the event loop's thread only."""
        return self._built.get(key)

    def keep_message(self, message: bytes, *key: str | int) -> bytes:
        """Remember what was built, for readers who come next."""
        # The oldest goes: readers who keep up ask for the newest, once each.
        if len(self._built) >= _MOST_BUILT:
            self._built.pop(next(iter(self._built)))
        self._built[key] = message
        return message

    def snapshot(self) -> dict[str, Any]:
        """What must be known to go on with the rows in the ring; from the thread that writes."""
        head, gaps = self.computed, [*self.gaps, *(gap for one in self._computed for gap in one.gaps)]
        return {
            "next_row": head.next_row, "watermark_us": head.watermark_us, "oldest": self.oldest,
            "capacity": self._capacity, "sums": self.file.snapshot(), "gaps_so_far": self._next_gap,
            "gaps": [[gap.number, gap.row, gap.from_us, gap.to_us] for gap in gaps[-_MAX_GAPS:]],
        }  # fmt: skip

    def count_lost(self) -> int:
        """How many rows a power cut took, once the log is replayed: what was overwritten was to go anyway."""
        to_go = self.head.next_row - self._capacity + self.file.slack()
        self.lost_rows = max(0, self._whole_from - max(self._had_from, to_go))
        return self.lost_rows

    def close(self) -> None:
        """Let go of the ring."""
        self.file.close()

    def _recall(self, known: dict[str, Any]) -> None:
        self.head = Head(known["next_row"], known["watermark_us"])
        self.oldest, self._capacity = known["oldest"], known["capacity"]
        self.gaps_so_far = known["gaps_so_far"]
        self.gaps.extend(GapMark(*gap) for gap in known["gaps"])

    def _check_what_is_there(self, has_sums: bool) -> None:
        """Rows before the last block that is not as it was written are gone; so are all where the file is."""
        next_row = self.head.next_row
        if not self.file.known:
            self.oldest = self._whole_from = next_row
        elif has_sums:
            first, damaged = self.file.first_intact(next_row)
            if damaged:
                self._whole_from = first
            self.oldest = max(self.oldest, first)

    def _write(self, rows: Rows, slot: int) -> None:
        if len(rows):
            self.file.write(slot, memoryview(rows.tobytes()))
