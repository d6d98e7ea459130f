"""Where a child writes what its parent reads: the pipe that was its stdout.

Its stdout itself goes to stderr. A library or a plug-in that prints must not get between the answers.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

_claimed: list[BinaryIO] = []


def output() -> BinaryIO:
    """The pipe, buffered; the first call takes it over."""
    if not _claimed:
        sys.stdout.flush()
        # Buffered, whatever PYTHONUNBUFFERED says: a signal cuts short what is written to a raw file.
        _claimed.append(os.fdopen(os.dup(1), "wb"))
        os.dup2(2, 1)
    return _claimed[0]
