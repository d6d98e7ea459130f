"""All frames of a stream as a file for whoever asked to keep them: ``record: true``."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import wire
from pipeline.writing import write_all


class Recorder:
    """Appends frames to a file of format PCHY, behind a frame that says what they are of.

    Args:
        path: the file; made where it is not.
        about: what the stream was asked to be.
        most_bytes: no more is kept; what is left out is counted in ``left_out``.
    """

    def __init__(self, path: Path, about: dict[str, Any], most_bytes: int) -> None:
        self.path, self.left_out = path, 0
        self._most_bytes = most_bytes
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.start = self._size = 0
        """Where the first frame of the stream lies; and how large the file is."""
        was_empty = os.fstat(self._file).st_size == 0
        try:
            self._begin(about)
        except BaseException:
            if was_empty:
                with suppress(OSError):
                    os.ftruncate(self._file, 0)  # half a beginning is none
            os.close(self._file)
            raise

    def _begin(self, about: dict[str, Any]) -> None:
        self.start = self._first_frame()
        if self.start == 0:  # new, or a power cut took its beginning: what it holds then is of no use
            text = json.dumps(about).encode()
            os.ftruncate(self._file, 0)
            write_all(self._file, [wire.build(wire.STREAM, 0, 0, 0, len(text), text)])
            self.start = os.fstat(self._file).st_size
        self._size = os.fstat(self._file).st_size

    def _first_frame(self) -> int:
        """Behind the frame that says what the others are of; 0 where there is none."""
        head = os.pread(self._file, wire.HEADER_BYTES, 0)
        if len(head) < wire.HEADER_BYTES or not head.startswith(wire.MAGIC):
            return 0
        size = wire.HEADER_BYTES + wire.payload_bytes(head)
        if size > os.fstat(self._file).st_size:
            return 0
        try:
            return size if wire.parse(os.pread(self._file, size, 0)).type == wire.STREAM else 0
        except wire.BadFrame:
            return 0

    def append(self, frames: list[bytes]) -> None:
        """Keep frames, whole ones alone; OSError where the disk does not take them."""
        size = sum(map(len, frames))
        if self.left_out or self._size + size > self._most_bytes:
            self.left_out += len(frames)
            return
        try:
            write_all(self._file, frames)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += size

    def cut_back(self, size: int, left_out: int = 0) -> None:
        """Forget what lies behind ``size``: it comes once more."""
        self.left_out = left_out
        self._size = min(self._size, max(self.start, size))
        os.ftruncate(self._file, self._size)

    def sync(self) -> None:
        """Wait until the disk has all of it."""
        os.fdatasync(self._file)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
