"""Files of the user's and of the data folder, read so that nothing found there can hold the service up."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST = 64 * 2**20


def read_file(path: Path, most: int = MOST) -> bytes:
    """The content of a regular file.

    A FIFO would be waited for without end, so what is opened is looked at before it is read.

    Raises:
        OSError: it is not there, no regular file, or larger than ``most`` bytes.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_regular(file, path)
        with os.fdopen(os.dup(file), "rb") as opened:
            found = opened.read(most + 1)
    finally:
        os.close(file)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
    return found


def check_regular(file: int, path: Path) -> None:
    """Doubt a file that was opened.

    Raises:
        OSError: it is no regular file.
    """
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
