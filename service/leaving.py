"""An end that waits for nobody: a thread that still asks for a name is left behind.

Python joins every thread of a pool before it ends, and a resolver on a dead network answers after a minute or never.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

import structlog

from service import boot

_log = structlog.get_logger("service")
_PATIENCE_S = 1.0


def leave_soon(status: int) -> None:
    """End the process in a moment, if it has not ended by itself; everything must be on disk and closed by now."""
    end = threading.Timer(_PATIENCE_S, _leave, (status,))
    end.daemon = True
    end.start()


def _leave(status: int) -> None:
    threads = sorted(
        one.name for one in threading.enumerate() if one.ident != threading.get_ident() and not one.daemon
    )
    _log.warning("left while something still waited", threads=threads)
    logging.shutdown()
    boot.remove_links()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
