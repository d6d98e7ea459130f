"""Accepted frames on disk, one after the other as they came; what a stream is rebuilt from.

The log is a folder of segments, each named by the number of its first frame. A snapshot begins a new one and makes
those before the last snapshot but one needless, so the log stays as small as what came since then.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline import wire
from pipeline.reading import check_regular
from pipeline.wire import BadFrame, Frame
from pipeline.writing import sync_folder, write_all

_MOST_TRIED = 2**30
"""Bytes that are looked at, at most, to tell a damaged end from damage in the middle."""
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
        self.cut_bytes = 0
        """What :meth:`replay` cut off a damaged end."""
        self.trouble: str | None = None
        """None: an append that goes through is durable at once."""
        segments = self._segments()
        self._file = self._open(segments[-1][1] if segments else self._path(after + 1))

    def append(self, frames: list[bytes], last: int, durable: Callable[[int], None]) -> None:
        """Write frames; they are durable when this returns.

        Raises:
            OSError: the disk does not take them, and none of them is kept.
        """
        about = os.fstat(self._file)
        before = about.st_size
        # Writing to a file without a name succeeds, and nobody would find it again.
        if about.st_nlink == 0:
            raise OSError(errno.ENOENT, "its log was removed from the data folder")
        try:
            write_all(self._file, frames)
            if self._fsync:
                os.fdatasync(self._file)
        except OSError:
            # Half a frame in the middle would make all that follows unreadable.
            os.ftruncate(self._file, before)
            raise
        durable(last)

    def checkpoint(self, number: int) -> None:
        """Begin a segment behind the last frame, ``number``; where the system lets it not, nothing has changed.

        A segment begins before the snapshot is written that it follows: one without a snapshot is replayed like all
        others, but a snapshot in the middle of a segment would hide what follows it there.
        """
        fresh = self._open(self._path(number + 1))
        if self._fsync:
            sync_folder(self._folder)
        # Closed last: until here a failure leaves the log as it was.
        old, self._file = self._file, fresh
        os.close(old)

    def forget(self, number: int) -> None:
        """Segments up to this frame will not be asked for again."""
        for first, path in self._segments(since=0):
            if first <= number:
                path.unlink(missing_ok=True)

    def replay(self) -> Iterator[tuple[Frame, int]]:
        """The frames, each with its size; an end that a crash or a power cut left damaged is cut off.

        What follows the last whole frame is cut where no whole frame follows it any more, be it short, zeros or
        garbage; :attr:`cut_bytes` says how much went.

        Raises:
            OSError: what is damaged lies in the middle: whole frames follow it. Nothing is removed.
        """
        found = self._segments()
        if found and found[0][0] != self._after + 1:
            raise OSError(
                errno.EIO, f"its log begins at frame {found[0][0]}, and no snapshot holds what came before"
            )
        segments = [path for _, path in found]
        for i, path in enumerate(segments):
            whole = yield from _frames(path)
            if whole == path.stat().st_size:
                continue
            later = segments[i + 1 :]
            if _holds_frame(path, whole + 1) or any(_holds_frame(one, 0) for one in later):
                raise OSError(
                    errno.EIO, f"its log is damaged at byte {whole} of {path.name}, and whole frames follow"
                )
            self._cut(path, whole, later)
            return

    def _cut(self, path: Path, whole: int, later: list[Path]) -> None:
        """End the log at byte ``whole`` of a segment, and go on there."""
        self.cut_bytes = sum(one.stat().st_size for one in (path, *later)) - whole
        os.truncate(path, whole)
        for one in later:
            one.unlink()
        old, self._file = self._file, self._open(path)
        os.close(old)

    def close(self) -> None:
        """Let go of the file."""
        # Forgotten before it is closed: closed twice, it could be a descriptor of somebody else's by then.
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _path(self, first: int) -> Path:
        return self._folder / _name(first)

    @staticmethod
    def _open(path: Path) -> int:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
        try:
            check_regular(file, path)
        except OSError:
            os.close(file)
            raise
        return file

    @classmethod
    def is_whole(cls, folder: Path) -> bool:
        """Whether a log begins with the first frame, so that a stream can be rebuilt from it alone."""
        return (folder / _name(1)).is_file()

    def _segments(self, since: int | None = None) -> list[tuple[int, Path]]:
        """Those that begin behind a frame; behind the snapshot's where None."""
        found = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        after = self._after if since is None else since
        return sorted((int(match[1]), path) for match, path in found if int(match[1]) > after)


def _name(first: int) -> str:
    return f"frames-{first:020d}.log"


def _frames(path: Path) -> Generator[tuple[Frame, int], None, int]:
    """The frames of a file; returns where the last whole one ends."""
    whole, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while (frame := _next(file, end - whole)) is not None:
            size = wire.HEADER_BYTES + len(frame.payload)
            whole += size
            yield frame, size
    return whole


def _next(file: BinaryIO, left: int) -> Frame | None:
    """The frame where a file stands, of which ``left`` bytes are left; None where none is whole."""
    head = file.read(wire.HEADER_BYTES)
    if len(head) < wire.HEADER_BYTES or not head.startswith(wire.MAGIC):
        return None
    size = wire.payload_bytes(head)
    if wire.HEADER_BYTES + size > left:
        return None
    try:
        return wire.parse(head + file.read(size))
    except BadFrame:
        return None


def _holds_frame(path: Path, start: int) -> bool:
    """Whether a whole frame begins anywhere behind a byte of a file; True, too, where it takes long to tell."""
    data, tried = path.read_bytes(), 0
    at = data.find(wire.MAGIC, start)
    while 0 <= at <= len(data) - wire.HEADER_BYTES:
        size = wire.HEADER_BYTES + wire.payload_bytes(data[at : at + wire.HEADER_BYTES])
        if at + size <= len(data):
            tried += size
            if tried > _MOST_TRIED or _is_whole(data[at : at + size]):
                return True
        at = data.find(wire.MAGIC, at + 1)
    return False


def _is_whole(data: bytes) -> bool:
    try:
        wire.parse(data)
    except BadFrame:
        return False
    return True
