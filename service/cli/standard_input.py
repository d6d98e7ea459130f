"""Standard input as a file: most formats are read twice, or from their end."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

STDIN = Path("-")


@contextmanager
def standard_input(paths: Sequence[Path]) -> Generator[list[Path]]:
    """The same paths, with a temporary file for ``-``, which is read to its end."""
    if STDIN not in paths:
        yield list(paths)
        return
    with TemporaryDirectory(prefix="polychrony-") as folder:
        held = Path(folder) / "stdin"
        with held.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 2**20)
        yield [held if path == STDIN else path for path in paths]
