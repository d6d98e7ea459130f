"""Snapshots of a stream: what it needs to go on, in one signed file named by the last frame in it."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from pipeline import checkpoint
from pipeline.checkpoint import CheckpointError
from service.storage.ports import Secrets
from service.storage.records import Snapshot

_KEY_BYTES = 32
_NAME = re.compile(r"snapshot-(\d{20})\.zip")


class Snapshots:
    """The snapshots in a stream's folder: the newest, and the one before it, should that be damaged.

    Args:
        folder: of the stream.
        key: to sign with.
        fsync: whether to wait for the disk.
    """

    def __init__(self, folder: Path, key: bytes, fsync: bool = False) -> None:
        self._folder, self._key, self._fsync = folder, key, fsync

    def write_to(self, path: Path, snapshot: Snapshot) -> None:
        """Write a snapshot to a file of its own."""
        checkpoint.write(
            path, {"number": snapshot.number, **snapshot.card}, snapshot.state, self._key, self._fsync
        )

    def write(self, snapshot: Snapshot) -> int:
        """Write a snapshot; the number of the one before it, which is kept too: 0 where there is none."""
        self.write_to(self._folder / f"snapshot-{snapshot.number:020d}.zip", snapshot)
        before = [(number, path) for number, path in self._all() if number < snapshot.number]
        for _, older in before[:-1]:
            older.unlink(missing_ok=True)
        return before[-1][0] if before else 0

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole, or None where none was written.

        Raises:
            CheckpointError: all are damaged.
        """
        problem: CheckpointError | None = None
        for _, path in reversed(self._all()):
            try:
                return read(path, self._key)
            except CheckpointError as damaged:
                problem = damaged
        if problem is not None:
            raise problem
        return None

    def _all(self) -> list[tuple[int, Path]]:
        matches = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted((int(match[1]), path) for match, path in matches if path.is_file())


def read(source: Path | bytes, key: bytes) -> Snapshot:
    """A snapshot from a file.

    Raises:
        CheckpointError: it is none of this service's.
    """
    card, state = checkpoint.read(source, key)
    try:
        return Snapshot(int(card["number"]), card, state)
    except (KeyError, TypeError, ValueError) as problem:
        raise CheckpointError("not a snapshot of a stream") from problem


def key_of(store: Secrets) -> bytes:
    """The key that this service signs with; made where there is none.

    Raises:
        BadSecret: what is kept is none: anybody could sign with an empty one.
    """
    return store.read_or_make("snapshot.key", _KEY_BYTES, lambda: secrets.token_bytes(_KEY_BYTES))
