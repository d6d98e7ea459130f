"""Kernels that come compiled with an image, put where numba finds them; before numba is imported.

An image comes with its kernels compiled, for one processor that all of its kind include. numba reads a cache only
where it may also write, and only for the processor that it was written for; so the command names that
processor and links the files that came with the image into a folder of its own. Nothing is copied or compiled.
"""

from __future__ import annotations

import atexit
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

SHIPPED = "POLYCHRONY_KERNELS"
"""The variable that names the folder of kernels that came with the image."""
TARGETS = {"x86_64": ("x86-64-v3", "+avx2"), "aarch64": ("generic", "+neon")}
"""Processor and features that shipped kernels are compiled for, by machine."""
_links: dict[int, Path] = {}
"""Folders of links by process: a child must not remove what its parent uses."""
_V3 = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
"""What x86-64-v3 has beyond the first machines of its kind, as Linux names it."""


def missing_features() -> list[str]:
    """What this processor lacks of what shipped kernels are compiled for."""
    if platform.machine() != "x86_64":
        return []
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return sorted(_V3 - set(line.partition(":")[2].split()))
    return sorted(_V3)


def name_target() -> None:
    """Have kernels compiled for the processor that they are shipped for."""
    if (target := TARGETS.get(platform.machine())) is not None:
        os.environ["NUMBA_CPU_NAME"], os.environ["NUMBA_CPU_FEATURES"] = target


def use() -> None:
    """Link the kernels that came with the image to where numba uses them; elsewhere nothing happens."""
    shipped = os.environ.get(SHIPPED)
    if not shipped or os.environ.get("NUMBA_CACHE_DIR"):
        return
    lacking = missing_features() if platform.machine() in TARGETS else ["a machine that they are made for"]
    if lacking:
        why = f"it lacks {', '.join(lacking)}"
        sys.stderr.write(
            f"polychrony: kernels are compiled for this processor ({why}), once per data folder ...\n"
        )
        data = os.environ.get("POLYCHRONY_DATA_DIR", ".polychrony")
        os.environ["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(
            Path(data).absolute() / "cache"
        )
        return
    name_target()
    folder = Path(tempfile.mkdtemp(prefix="polychrony-kernels-"))
    _link(Path(shipped), folder)
    _links[os.getpid()] = folder
    atexit.register(remove_links)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _link(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in files:
            (here / name).symlink_to(Path(folder) / name)


def remove_links() -> None:
    """Remove the folder of links that this process made, if it did."""
    if (folder := _links.pop(os.getpid(), None)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


def compile_kernels(folder: Path) -> None:
    """Compile every kernel into ``folder``, as an image ships them."""
    name_target()
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    from pipeline.warm import warm  # noqa: PLC0415 - numba reads its environment when it is imported

    warm()
