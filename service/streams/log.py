"""Accepted frames on disk, one after the other as they came; what a stream is rebuilt from.

The log is a folder of segments, each named by the number of its first frame. A snapshot begins a new one and makes
those before the last snapshot but one needless, so the log stays as small as what came since then.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

from pipeline import wire
from pipeline.wire import BadFrame, Frame
from service.writing import sync_folder, write_all

_NAME = re.compile(r"frames-(\d{20})\.log")


class FrameLog:
    """An append-only row of frames.

    A write() is what makes a frame durable against the death of this process; fsync, against that of
    the machine.

    Args:
        folder: of the segments; made where it is not.
        fsync: whether each append waits for the disk.
        after: number of the last frame that a snapshot holds: segments up to it are not replayed.
    """

    def __init__(self, folder: Path, fsync: bool, after: int = 0) -> None:
        self._folder, self._fsync = folder, fsync
        folder.mkdir(parents=True, exist_ok=True)
        self._after = after
        segments = self._segments()
        self._file = self._open(segments[-1][1] if segments else self._path(after + 1))

    def append(self, frames: list[bytes]) -> None:
        """Write frames; OSError where the disk does not take them, and then none of them is kept."""
        before = os.fstat(self._file).st_size
        try:
            write_all(self._file, frames)
            if self._fsync:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            raise

    def begin_after(self, number: int) -> None:
        """Begin a segment behind the last frame, ``number``; where the system lets it not, nothing has changed.

        A segment begins before the snapshot is written that it follows: one without a snapshot is replayed like all
        others, but a snapshot in the middle of a segment would hide what follows it there.
        """
        fresh = self._open(self._path(number + 1))
        if self._fsync:
            sync_folder(self._folder)
        old, self._file = self._file, fresh
        os.close(old)

    def forget(self, needless: int) -> None:
        """Segments up to this frame will not be asked for again."""
        for first, path in self._segments(since=0):
            if first <= needless:
                path.unlink(missing_ok=True)

    def replay(self) -> Iterator[tuple[Frame, int]]:
        """The frames, each with its size; a last one that was cut off by a crash is removed.

        Raises:
            OSError: a frame that is not the last is damaged; nothing is removed.
        """
        segments = [path for _, path in self._segments()]
        for path in segments:
            whole = yield from _frames(path)
            if whole < path.stat().st_size:
                if path != segments[-1]:
                    raise OSError(errno.EIO, f"its log is damaged at byte {whole} of {path.name}")
                os.truncate(path, whole)

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _path(self, first: int) -> Path:
        return self._folder / f"frames-{first:020d}.log"

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def _segments(self, since: int | None = None) -> list[tuple[int, Path]]:
        """Those that begin behind a frame; behind the snapshot's where None."""
        found = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        after = self._after if since is None else since
        return sorted((int(match[1]), path) for match, path in found if int(match[1]) > after)


def _frames(path: Path) -> Generator[tuple[Frame, int], None, int]:
    """The frames of a file; returns where the last whole one ends."""
    whole, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while head := file.read(wire.HEADER_BYTES):
            size = wire.payload_bytes(head) if len(head) == wire.HEADER_BYTES else 0
            if len(head) < wire.HEADER_BYTES or whole + len(head) + size > end:
                break
            try:
                frame = wire.parse(head + file.read(size))
            except BadFrame as problem:
                raise OSError(errno.EIO, f"its log is damaged at byte {whole} of {path.name}") from problem
            whole += len(head) + size
            yield frame, len(head) + size
    return whole
