"""Accepted frames on disk, one after the other as they came; what a stream is rebuilt from."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from service import wire
from service.wire import BadFrame, Frame


class FrameLog:
    """An append-only file of frames.

    A write() is what makes a frame durable against the death of this process; fsync, against that of
    the machine.

    Args:
        path: the file; made where it is not.
        fsync: whether each append waits for the disk.
    """

    def __init__(self, path: Path, fsync: bool) -> None:
        self._path, self._fsync = path, fsync
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, frames: list[bytes]) -> None:
        """Write frames; OSError where the disk does not take them, and then none of them is kept."""
        before = os.fstat(self._file).st_size
        data = memoryview(b"".join(frames))
        try:
            while data:
                data = data[os.write(self._file, data) :]
            if self._fsync:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            raise

    def replay(self) -> Iterator[tuple[Frame, int]]:
        """The frames, each with its size; a last one that was cut off by a crash is removed.

        Raises:
            OSError: a frame that is not the last is damaged; nothing is removed.
        """
        whole, end = 0, os.fstat(self._file).st_size
        with self._path.open("rb") as file:
            while head := file.read(wire.HEADER_BYTES):
                size = _payload_size(head)
                if len(head) < wire.HEADER_BYTES or whole + len(head) + size > end:
                    break
                payload = file.read(size)
                try:
                    frame = wire.parse(head + payload)
                except BadFrame as problem:
                    raise OSError(errno.EIO, f"its log is damaged at byte {whole}") from problem
                yield frame, len(head) + len(payload)
                whole += len(head) + len(payload)
        if whole < end:
            os.ftruncate(self._file, whole)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _payload_size(head: bytes) -> int:
    if len(head) < wire.HEADER_BYTES:
        return 0
    _, _, type_, code, _, _, count, _ = wire.HEADER.unpack(head)
    return count * wire.AER64_BYTES if (type_, code) == (wire.EVENTS, wire.AER64) else count
