"""Bytes to the disk, all of them."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_PARTS = 512


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names of a folder."""
    known = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(known)
    finally:
        os.close(known)


def replace_file(path: Path, data: bytes, fsync: bool) -> None:
    """Write a file so that it is whole or not there; with ``fsync``, it is on the disk when this returns."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)
    if fsync:
        sync_folder(path.parent)


def write_all(file: int, parts: list[bytes]) -> None:
    """Write parts one after the other, without putting them together first."""
    for start in range(0, len(parts), _MOST_PARTS):
        group = parts[start : start + _MOST_PARTS]
        written, size = os.writev(file, group), sum(map(len, group))
        if written < size:
            rest = memoryview(b"".join(group))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
