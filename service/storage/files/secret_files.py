"""Secrets in files: written whole or not at all, readable by their owner alone, and doubted when they are read.

A disk that is full, or a power cut, leaves an empty file behind ``open``; an empty secret must open nothing.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pipeline.reading import read_file
from pipeline.writing import sync_folder, write_all
from service.storage.records import BadSecret


class SecretFiles:
    """Secrets in a data folder; see :class:`service.storage.ports.Secrets`.

    ``tokens.json`` holds the tokens. ``tokens.lock`` is locked while they are changed, and stays: where it is, tokens
    were made once.

    Args:
        data_dir: made when something is stored.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir, self._tokens = data_dir, data_dir / "tokens.json"

    @property
    def where(self) -> str:
        """See the port."""
        return str(self._tokens)

    def read_or_make(self, name: str, least: int, make: Callable[[], bytes]) -> bytes:
        """See the port; the file has the secret's name."""
        return read_or_make(self._data_dir / name, least, make)

    def tokens_version(self) -> object | None:
        """See the port."""
        try:
            about = self._tokens.stat()
        except FileNotFoundError:
            if self._tokens.is_symlink():
                raise FileNotFoundError(2, "points to a file that is not there", self.where) from None
            return None
        return about.st_mtime_ns, about.st_ino, about.st_size

    def tokens(self) -> bytes:
        """See the port."""
        return read_file(self._tokens)

    def tokens_were_made(self) -> bool:
        """See the port."""
        return self._tokens.exists() or self._tokens.with_suffix(".lock").exists()

    def change_tokens(self, edit: Callable[[bytes | None], bytes]) -> None:
        """See the port."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        # A file of its own: the one that is changed is replaced, and a lock on the old one would hold nobody up.
        lock = os.open(self._tokens.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            replace(self._tokens, edit(self.tokens() if self._tokens.exists() else None))
        finally:
            os.close(lock)  # which unlocks it; it stays, see above


def read_or_make(path: Path, least: int, make: Callable[[], bytes]) -> bytes:
    """The secret at ``path``; ``make`` gives one where there is none.

    Args:
        path: of the file; made with mode 0600.
        least: a secret has so many bytes at least.
        make: gives a new one.

    Raises:
        BadSecret: what is there is none: too short, or not to be read.
        OSError: none could be written; then no file is left, so that the next start tries again.
    """
    if not os.path.lexists(path):
        _create(path, make())
    return read(path, least)


def read(path: Path, least: int) -> bytes:
    """The secret at ``path``.

    Raises:
        BadSecret: there is none of this length.
    """
    try:
        found = read_file(path)
    except OSError as problem:
        raise BadSecret(f"{path}: the secret in it cannot be read: {problem.strerror}") from problem
    check_length(path, len(found), least)
    if len(set(found)) == 1:  # what a power cut leaves of a file whose length was written first
        raise BadSecret(
            f"{path}: holds one byte over and over, which is no secret: restore the file, or remove it to have a new "
            "one made"
        )
    return found


def check_length(path: Path, n: int, least: int) -> None:
    """Doubt a secret of ``n`` bytes.

    Raises:
        BadSecret: they are too few.
    """
    if n < least:
        raise BadSecret(
            f"{path}: holds {n} bytes, and a secret has at least {least}: restore the file, or remove it to have a "
            "new one made"
        )


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` in place of what ``path`` holds, at once and on the disk."""
    part = _write_part(path, data)
    try:
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _create(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _write_part(path, data)
    try:
        os.link(part, path)  # whoever is first
    except FileExistsError:
        pass
    finally:
        part.unlink()
    sync_folder(path.parent)


def _write_part(path: Path, data: bytes) -> Path:
    """A file beside ``path`` that holds ``data``, on the disk; none where that fails."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(file, [data])
        os.fsync(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return part
