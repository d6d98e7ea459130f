"""One service a data folder: two would acknowledge frames of one stream, and take each other's jobs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import UserError

_FILE = ".lock"


class DataInUse(UserError):
    """Another process works on the data folder."""


@contextmanager
def locked(data_dir: Path) -> Generator[None]:
    """Keep the data folder to this process; the system lets go of it when the process ends, however it ends.

    Raises:
        DataInUse: another service has it.
        OSError: the folder cannot be written to.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    file = os.open(data_dir / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise DataInUse(
                f"{data_dir}: the service of process {_owner(file)} works on this data folder: "
                "stop it, or name another folder with --data"
            ) from problem
        with suppress(OSError):  # a full disk: then the message of the next one lacks a number
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)


def _owner(file: int) -> str:
    found = os.pread(file, 20, 0).decode("ascii", "replace")
    return found if found.isdigit() else "(unknown)"
