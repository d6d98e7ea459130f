"""Reading ahead: what comes next is made in a thread of its own while what came is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

Part = TypeVar("Part")
_LOOK_S = 0.1


@contextmanager
def read_ahead(parts: Iterator[Part], most: int = 4) -> Generator[Iterator[Part]]:
    """The same parts in the same order, up to ``most`` of them made before they are asked for.

    What goes wrong in ``parts`` is raised where they are asked for, behind the parts before it. At the end of the
    block the thread has ended, wherever it was.
    """
    made: queue.Queue[tuple[bool, Part | BaseException | None]] = queue.Queue(most)
    over = threading.Event()

    def put(is_part: bool, what: Part | BaseException | None) -> bool:
        while not over.is_set():
            try:
                made.put((is_part, what), timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for part in parts:
                if not put(True, part):
                    return
            put(False, None)
        except BaseException as problem:
            put(False, problem)
        finally:
            if hasattr(parts, "close"):
                parts.close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    def taken() -> Iterator[Part]:
        while True:
            is_part, what = made.get()
            if is_part:
                yield what  # pyright: ignore[reportReturnType]
            elif isinstance(what, BaseException):
                raise what
            else:
                return

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        over.set()
        thread.join()
