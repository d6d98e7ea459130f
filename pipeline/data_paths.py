"""Where the user's models and pipelines are: beside the rest of the data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

Kept = Literal["models", "pipelines"]


def own_folder(kept: Kept) -> Path:
    """The folder of the user's models or pipelines.

    ``POLYCHRONY_MODELS`` or ``POLYCHRONY_PIPELINES``; else within the data folder, which is ``POLYCHRONY_DATA_DIR``
    or ``.polychrony``. What an earlier version left in ``~/.local/share/polychrony`` is used there until a service
    moves it.
    """
    if stated := os.environ.get(f"POLYCHRONY_{kept.upper()}"):
        return Path(stated)
    new = Path(os.environ.get("POLYCHRONY_DATA_DIR") or ".polychrony") / kept
    old = _before(kept)
    return old if old.is_dir() and not new.exists() else new


def take_over(kept: Kept, data_dir: Path) -> Path | None:
    """Keep models or pipelines in a data folder from now on, in this process and its children.

    Returns:
        The folder of an earlier version whose content was moved here; None where there was none.

    Raises:
        OSError: it cannot be moved.
    """
    variable = f"POLYCHRONY_{kept.upper()}"
    if os.environ.get(variable):
        return None
    new, old = data_dir / kept, _before(kept)
    os.environ[variable] = str(new.absolute())
    if not old.is_dir() or new.exists():
        return None
    shutil.move(old, new)
    return old


def _before(kept: Kept) -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "polychrony" / kept
