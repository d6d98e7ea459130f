"""What the verbs print with: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.warm import on_compilation

LOUDNESS = {"quiet": False, "verbose": False}
"""What ``-q`` and ``-v`` said; :func:`hear` writes it."""
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Advance = Callable[[float, str], None]
"""Called with (fraction done, what to say beside the bar)."""
_TELL_S = 10.0
"""Between two lines that say how far compiling has come."""


def print_json(document: Any) -> None:
    """A document for machines."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def hear(quiet: bool, verbose: bool) -> None:
    """Say less, or more, from here on."""
    LOUDNESS.update(quiet=quiet, verbose=verbose)


def note(text: str) -> None:
    """A line for people, which ``-q`` leaves out."""
    if not LOUDNESS["quiet"]:
        tell(text)


def tell(text: str) -> None:
    """A line that is told however quiet it is to be."""
    err.print(text, markup=False)


def warn(name: str, sentences: list[str]) -> None:
    """What was guessed of an input and looks wrong, on stderr."""
    for sentence in sentences:
        tell(f"warning: {name}: {sentence}")


def say_when_compiling() -> None:
    """Tell people why the first run takes longer, and that it goes on."""
    compiled, told_s, began_s = 0, 0.0, 0.0

    def compiling(name: str) -> None:
        nonlocal compiled, told_s, began_s
        now = time.monotonic()
        if LOUDNESS["verbose"]:
            note(f"  compiling {name}")
        if compiled == 0:
            note("compiling kernels, once per installation ...")
            told_s = began_s = now
        compiled += 1
        if now - told_s >= _TELL_S:
            told_s = now
            note(f"  {compiled} kernels compiled, {now - began_s:.0f} s")

    on_compilation(compiling)


@contextmanager
def progress(title: str, quiet: bool = False) -> Generator[Advance]:
    """A bar on stderr; where that is no terminal, a line at every quarter."""
    if quiet or LOUDNESS["quiet"]:
        yield _silent
    elif err.is_terminal:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[said]}"),
        )  # fmt: skip
        with Progress(*columns, console=err) as bar:
            task = bar.add_task(title, total=1.0, said="")
            yield lambda fraction, said: bar.update(task, completed=fraction, said=said)
    else:
        yield _by_quarters(title)


def _silent(_fraction: float, _said: str) -> None:
    """No progress is reported."""


def _by_quarters(title: str) -> Advance:
    told = 0

    def advance(fraction: float, said: str) -> None:
        nonlocal told
        while fraction * 4 >= told + 1:
            told += 1
            if fraction * 4 < told + 1:
                note(f"{title} {told * 25:3d} %  {said}")

    return advance


def table(*headings: str) -> Table:
    """A plain table whose columns after the first are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="left" if i == 0 else "right")
    return made
