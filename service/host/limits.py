"""What the machine, or the container around the process, lets it have."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def memory_limit() -> int | None:
    """The container's limit, where it has one below what the machine has."""
    total = psutil.virtual_memory().total
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(_CGROUP / name)
        if limit is not None and limit < total:
            return limit
    return None


def memory_bytes() -> int:
    """Memory that the process may use: the container's limit, or what the machine has."""
    return memory_limit() or psutil.virtual_memory().total


def cores() -> int:
    """Processors that the process may use: the container's quota, rounded up, or those it may run on."""
    mine = len(os.sched_getaffinity(0))
    quota = _quota()
    return mine if quota is None else max(1, min(mine, -int(-quota // 1)))


def _quota() -> float | None:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    quota_us, period_us = (_number(_CGROUP / f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max"
        return None
