"""Install extras of Polychrony at the versions and hashes of the lock: what ``make EXTRAS=camera,mqtt`` runs.

python docker/extras.py camera,mqtt
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-dev.lock"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def locked(text: str) -> dict[str, str]:
    """The entries of a lock file, each with its hashes, by name."""
    entries = [one for one in re.split(r"(?m)^(?=[A-Za-z0-9])", text) if "==" in one]
    # The same distribution may be there twice, for older and for newer versions of Python.
    return {plain(one.partition("==")[0]): one for one in entries if _applies(one)}


def _applies(entry: str) -> bool:
    marker = entry.splitlines()[0].rstrip("\\ ").partition(";")[2]
    return not marker or Marker(marker.strip()).evaluate()


def plain(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def needed(extras: list[str], entries: dict[str, str], folder: Path) -> list[str]:
    """Names of what is missing for some extras."""
    versions = folder / "versions.txt"
    pins = [re.split(r"\s*\\?\n", one)[0] for one in entries.values()]
    versions.write_text("\n".join(pins) + "\n")
    # Resolved without being installed: the lock holds more than these extras.
    asked = [f"{ROOT}[{','.join(extras)}]", "-c", str(versions), "--no-build-isolation"]
    command = [*_PIP, "install", "-q", "--dry-run", "--report", str(folder / "report.json"), *asked]
    subprocess.run(command, check=True)
    report = json.loads((folder / "report.json").read_text())
    found = [plain(one["metadata"]["name"]) for one in report["install"]]
    return [name for name in found if not name.startswith("polychrony")]


def main() -> int:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    extras = re.split(r"[,\s]+", sys.argv[1].strip(", ")) if len(sys.argv) == 2 else []
    if not extras or not set(extras) <= set(known):
        sys.exit(f"EXTRAS: allowed are {', '.join(known)}, separated by commas")
    entries = locked(LOCK.read_text())
    with tempfile.TemporaryDirectory() as folder:
        names = needed(extras, entries, Path(folder))
        if unknown := [name for name in names if name not in entries]:
            sys.exit(f"{', '.join(unknown)}: not in {LOCK.name}; run `make lock`")
        if names:
            chosen = Path(folder) / "chosen.txt"
            chosen.write_text("".join(entries[name] for name in names))
            subprocess.run(
                [*_PIP, "install", "-q", "--no-deps", "--require-hashes", "-r", chosen], check=True
            )
    print(f"extras {', '.join(extras)}: {', '.join(names) or 'all there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
