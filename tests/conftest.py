"""Where tests find real recordings, and a kernel cache that belongs to these very sources."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A kernel's first call compiles it: no deadline says anything about an example.
settings.register_profile("polychrony", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("polychrony")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings: ``POLYCHRONY_DATA``, by default ``../shared/data``."""
    folder = Path(os.environ.get("POLYCHRONY_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}: set POLYCHRONY_DATA")
    return folder
