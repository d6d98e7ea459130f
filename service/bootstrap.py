"""The ``polychrony`` command's first step: settles what must be settled before numba is imported."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from service.host import shipped_kernels

_PACKAGES = ("kernels", "pipeline")
"""Imported by these names, which other distributions may have taken, too."""


def main() -> None:
    """Be ``polychrony``."""
    if stranger := foreign_package():
        sys.exit(f"polychrony: {stranger}")
    shipped_kernels.use()
    from service.cli import main as command  # noqa: PLC0415 - numba reads its environment when it is imported

    command()


def foreign_package(root: Path = Path(__file__).parents[1]) -> str | None:
    """What is wrong where a package of ours is hidden by another distribution's of the same name."""
    for name in _PACKAGES:
        found = find_spec(name)
        places = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
        if places[:1] != [root / name]:
            where = places[0] if places else found.origin if found else "nowhere"
            return (
                f"the package {name!r} is imported from {where}, not from {root / name}: another package of that "
                "name is in the way; install Polychrony into a virtual environment of its own"
            )
    return None
