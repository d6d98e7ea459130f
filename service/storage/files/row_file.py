"""The rows of one output in a file that is overwritten from its start, with checksums of its blocks.

After a power cut the file may hold zeros, or records of the round before, where the disk was not told to wait for a
write. A snapshot holds the checksums of that moment, so what does not match is found at the next start.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

_BLOCKS = 64


class RingFile:
    """A ring of records in one file; see :class:`service.storage.ports.RowFile`.

    Args:
        path: the file; made where it is missing.
        row_bytes: size of a record.
        capacity: records.
        sums: what :meth:`snapshot` said; None where nothing is known of its content.
        fresh: whether it begins empty.
    """

    def __init__(
        self, path: Path, row_bytes: int, capacity: int, sums: list[list[int]] | None, fresh: bool
    ) -> None:
        self._row_bytes = row_bytes
        self.known = path.exists() and not fresh
        # The sums of a snapshot that came from elsewhere are of another file.
        self._sums = _Sums(capacity, sums if self.known else None)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if fresh else 0), 0o600)
        self._closing = threading.Lock()
        self._open = True

    def write(self, slot: int, data: memoryview) -> None:
        """Write whole records from ``slot`` on."""
        self._sums.add(slot, data, self._row_bytes)
        offset = slot * self._row_bytes
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    def read(self, slot: int, n: int) -> bytes:
        """``n`` records from ``slot`` on."""
        if n == 0:
            return b""
        # Once the file is closed its descriptor may belong to another file, which must not be read.
        with self._closing:
            if not self._open:
                raise OSError("the rows are gone")
            return os.pread(self._file, n * self._row_bytes, slot * self._row_bytes)

    def first_intact(self, next_row: int) -> tuple[int, bool]:
        """(the oldest row from which on all before ``next_row`` are intact, whether the one before is damaged)."""
        first = next_row
        for slot, rows, crc in self._sums.before(next_row):
            if zlib.crc32(self.read(slot, rows)) != crc:
                self._sums.forget_behind(next_row, first)
                return first, True
            first -= rows
        return first, False

    def slack(self) -> int:
        """Rows that share a checksum."""
        return self._sums.block

    def snapshot(self) -> list[list[int]]:
        """The checksums of now."""
        return self._sums.snapshot()

    def sync(self) -> None:
        """fdatasync."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._closing:
            if self._open:
                self._open = False
                os.close(self._file)


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
