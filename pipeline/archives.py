"""What a ZIP archive that is damaged, or none, raises when it is read."""

from __future__ import annotations

import lzma
import zipfile
import zlib

BROKEN_ARCHIVE: tuple[type[Exception], ...] = (
    # `zipfile` documents the first alone; any flipped byte of a header may lead to the others.
    zipfile.BadZipFile, KeyError, OSError, RuntimeError, ValueError, EOFError, zlib.error, lzma.LZMAError,
    OverflowError,
)  # fmt: skip
"""Of opening an archive, looking for a member and reading it; NotImplementedError is a RuntimeError."""
