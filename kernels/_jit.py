"""The one decorator that every kernel wears, and where numba keeps what it compiled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba
import numba.core.config as numba_config
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def source_digest() -> str:
    """Hash over the sources of this package, 16 hex digits.

    numba keys its cache by the file that holds a kernel and misses edits in a callee that lives in
    another module, so the cache folder itself is keyed by everything that a kernel can call.
    """
    digest = hashlib.sha256()
    digest.update(os.environ.get("NUMBA_BOUNDSCHECK", "").encode())  # numba's own key leaves it out
    here = Path(__file__).parent
    for path in sorted(here.rglob("*.py")):
        digest.update(path.relative_to(here).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _place_cache() -> None:
    """Choose the cache folder, unless ``NUMBA_CACHE_DIR`` already does."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    setattr(numba_config, "CACHE_DIR", str(base / "polychrony" / "kernels" / source_digest()))  # noqa: B010


_place_cache()

BOUNDS_CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "") not in {"", "0"}
"""Whether every index is checked: set ``NUMBA_BOUNDSCHECK=1`` before numba is imported (``make test-bounds``)."""

KERNELS: list[Callable[..., Any]] = []
"""Every kernel there is, in the order in which their modules were imported."""


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` on first use: no Python objects, GIL released, cached on disk.

    No fast-math (answers must not depend on how sums are regrouped) and no ``prange`` (slim images
    have no OpenMP, and streams are what runs in parallel).
    """
    made = cast(Callable[..., Any], numba.njit(nogil=True, cache=True)(function))
    KERNELS.append(made)
    return made


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` into each kernel that calls it: per event, a call with arrays costs reference counts."""
    return cast(Callable[..., Any], numba.njit(nogil=True, inline="always")(function))


def guarded(intrinsic: Callable[..., Any], fits: Callable[..., bool]) -> Callable[..., Any]:
    """An intrinsic that writes to memory without numba knowing: checked where bounds are checked at all.

    Args:
        intrinsic: what is called; where bounds are not checked, it is returned as it is.
        fits: takes the same arguments, in nopython mode; whether all that is read and written lies inside its arrays.

    Raises:
        IndexError: (what is returned) the arguments do not fit.
    """
    if not BOUNDS_CHECKED:
        return intrinsic
    inside = numba.njit(fits)

    @numba.njit
    def checked(*arguments: Any) -> Any:
        if not inside(*arguments):
            raise IndexError("an intrinsic would leave its arrays")
        return intrinsic(*arguments)

    return cast(Callable[..., Any], checked)


@intrinsic
def _trailing_zeros(typingctx: Any, word: Any) -> Any:
    """Index of the lowest set bit of a non-zero uint64, as int64: one instruction."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


trailing_zeros: Callable[[Any], Any] = cast(Callable[[Any], Any], _trailing_zeros)
"""Index of the lowest set bit of a non-zero uint64, as int64: one instruction."""
