"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.host import limits

_LIBRARIES = ("polychrony", "numpy", "numba", "llvmlite")


def processor() -> str:
    """What the processor calls itself; the board's name where it does not, as on ARM."""
    for path, key in ((Path("/proc/cpuinfo"), "model name"), (Path("/proc/cpuinfo"), "Model")):
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(errors="replace").strip("\0 \n")
    return platform.processor() or platform.machine()


def describe() -> dict[str, Any]:
    """Of this machine and this installation; nothing that tells whose it is."""
    return {
        "processor": processor(), "architecture": platform.machine(), "cores": os.cpu_count(),
        "cores_usable": limits.cores(), "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(), "libraries": {name: version(name) for name in _LIBRARIES},
    }  # fmt: skip
