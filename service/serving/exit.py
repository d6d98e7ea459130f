"""An end that waits for nobody: a thread that still asks for a name is left behind.

Python joins every thread of a pool before it ends, and a resolver on a dead network answers after a minute or never.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress

import structlog

from service.host import shipped_kernels

_log = structlog.get_logger("service")


def leave_within(seconds: float, status: int) -> None:
    """End the process then, if it has not ended by itself; what must be on disk and closed has to be so by then."""
    end = threading.Timer(seconds, _leave, (status,))
    # It must not itself be what the process waits for.
    end.daemon = True
    end.start()


def _leave(status: int) -> None:
    me = threading.get_ident()
    threads = sorted(one.name for one in threading.enumerate() if one.ident != me and not one.daemon)
    try:
        # Nobody may read what is said any more.
        with suppress(Exception):
            _log.warning("left while something still waited", threads=threads)
        for last in (logging.shutdown, shipped_kernels.remove_links, sys.stdout.flush, sys.stderr.flush):
            with suppress(Exception):
                last()
    finally:
        os._exit(status)
