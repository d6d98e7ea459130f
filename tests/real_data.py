"""Where the real recordings are that tests and benchmarks use."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIRED = "required"


def folder() -> Path:
    """What ``POLYCHRONY_DATA`` names, by default ``../shared/data``, also where it says ``required``; it may be missing."""
    stated = os.environ.get("POLYCHRONY_DATA", "")
    return Path(ROOT / ".." / "shared" / "data" if stated in {"", REQUIRED} else stated).resolve()


def required() -> bool:
    """Whether tests fail that need one, instead of being skipped."""
    return os.environ.get("POLYCHRONY_DATA") == REQUIRED
