"""File descriptors: as many as the system allows, and some kept back from connections for the service's own work."""

from __future__ import annotations

import resource

RESERVE = 256
"""For files of streams, jobs and the log, and for connections that were accepted and not looked at yet."""
BACKLOG = 128
"""Connections that the system holds until they are accepted; so many are accepted at a time, at most."""
_ENOUGH = 65_536


def raise_limit() -> int:
    """Have as many as the hard limit allows, 65,536 at most; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def limit() -> int:
    """How many this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def for_connections() -> int:
    """Up to which number connections may have them: the rest, at least half of all, is the service's own."""
    most = limit()
    return most - min(RESERVE, most // 2)
