"""Threads that help a stage: kernels let go of the interpreter, so that several run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 64


def processors() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0))


class Workers:
    """The calling thread, and ``threads`` - 1 beside it, which begin when they are first needed.

    Whoever uses them splits work into parts that write to places of their own, so that answers do not depend on how
    many there are.

    Args:
        threads: at least 1.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def run(self, parts: Sequence[Callable[[], None]]) -> None:
        """Do all parts, and come back when all are done.

        Raises:
            Exception: the first part that failed, once none runs any more.
        """
        if self.threads == 1 or len(parts) == 1:
            for part in parts:
                part()
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="stage")
        others = [self._pool.submit(part) for part in parts[1:]]
        try:
            parts[0]()
        finally:
            failed = [problem for other in others if (problem := other.exception()) is not None]
        if failed:
            raise failed[0]
