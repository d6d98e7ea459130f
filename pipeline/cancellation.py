"""Work that may be broken off: whoever runs it says when, and whatever takes long asks between bounded parts.

What is asked belongs to the thread, as the work does; where nobody set it, work goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

_thread = threading.local()


class Interrupted(Exception):
    """The work was broken off: what it had changed is of use to nobody."""


@contextmanager
def interruptible(ask: Callable[[], bool]) -> Generator[None]:
    """Break off the work inside, at its next :func:`checkpoint`, once ``ask`` answers yes."""
    before = getattr(_thread, "ask", None)
    _thread.ask = ask
    try:
        yield
    finally:
        _thread.ask = before


def checkpoint() -> None:
    """Between two parts of work: go on, or not.

    Raises:
        Interrupted: not.
    """
    ask = getattr(_thread, "ask", None)
    if ask is not None and ask():
        raise Interrupted
