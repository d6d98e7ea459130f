"""Bytes to the disk, all of them; files that are whole or not there."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_MOST_PARTS = 512
_COUNT = itertools.count()


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names of a folder."""
    known = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(known)
    finally:
        os.close(known)


def sync_file(path: Path) -> None:
    """Wait until the disk has what a file holds; its name is the matter of its folder."""
    sync_folder(path)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Nobody else is in here for the same folder meanwhile, in this process or another; it is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def whole_file(path: Path, fsync: bool = False, shared: bool = False) -> Generator[BinaryIO]:
    """Write a file that takes the place of ``path`` at the end: readers find the old one or the new one, whole.

    A kill amid of it leaves the old one, and a file ``.NAME.part`` beside it that the next writing replaces.

    Args:
        path: the file.
        fsync: whether it is on the disk, with its name, at the end; else a power cut may leave it empty.
        shared: whether others, in this process or another, may write the same file at the same time.
    """
    own = f".{os.getpid()}.{next(_COUNT)}" if shared else ""
    part = path.with_name(f".{path.name}{own}.part")
    try:
        with part.open("wb") as file:
            yield file
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if fsync:
        sync_folder(path.parent)


def replace_file(path: Path, data: bytes | memoryview, fsync: bool = False, shared: bool = False) -> None:
    """Like :func:`whole_file`, of bytes that are there."""
    with whole_file(path, fsync, shared) as file:
        file.write(data)


def write_all(file: int, parts: list[bytes]) -> None:
    """Write parts one after the other, without putting them together first."""
    for start in range(0, len(parts), _MOST_PARTS):
        group = parts[start : start + _MOST_PARTS]
        written, size = os.writev(file, group), sum(map(len, group))
        if written < size:
            rest = memoryview(b"".join(group))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
