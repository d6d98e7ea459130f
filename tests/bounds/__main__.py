"""Every kernel with every index checked: ``python -m tests.bounds``; what ``make test-bounds`` runs.

The property tests, the stages' contract and the extreme inputs run with ``NUMBA_BOUNDSCHECK=1`` and a cache folder of
their own; an index outside its array fails the test that caused it. A kernel that none of them reached is named, and
the run fails.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

FOLDERS = ("tests/bounds", "tests/property", "tests/contract")


def main() -> int:
    os.environ["NUMBA_BOUNDSCHECK"] = "1"  # before numba is imported; kernels/_jit.py keys its cache by it
    import pytest

    started = time.monotonic()
    status = pytest.main([*FOLDERS, *sys.argv[1:]])
    reached, missed = coverage()
    print(
        f"{len(reached)} of {len(reached) + len(missed)} kernels checked in {time.monotonic() - started:.0f} s"
    )
    for name in missed:
        print(f"  never called: {name}")
    return int(status) or bool(missed)


def coverage() -> tuple[list[str], list[str]]:
    """(kernels that ran, kernels that did not), in this process; one that a kernel which ran calls has run."""
    import kernels
    from kernels._jit import KERNELS

    for module in pkgutil.walk_packages(kernels.__path__, "kernels."):
        importlib.import_module(module.name)
    waiting = [one for one in KERNELS if one.signatures]
    seen = {id(one) for one in waiting}
    while waiting:  # a caller that comes from the cache brings what it calls along, compiled
        for called in calls(waiting.pop().py_func):
            if id(called) not in seen:
                seen.add(id(called))
                waiting.append(called)
    names = {id(one): f"{one.py_func.__module__}.{one.py_func.__name__}" for one in KERNELS}
    return (
        sorted(name for key, name in names.items() if key in seen),
        sorted(name for key, name in names.items() if key not in seen),
    )


def calls(function: Callable[..., Any]) -> list[Any]:
    """What numba compiled and ``function`` names: ``name`` itself, or ``module.name``."""
    names = function.__code__.co_names
    found = [function.__globals__.get(name) for name in names]
    for module in [one for one in found if isinstance(one, ModuleType)]:
        found += [getattr(module, name, None) for name in names]
    return [one for one in found if hasattr(one, "py_func")]


if __name__ == "__main__":
    sys.exit(main())
