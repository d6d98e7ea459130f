"""Whether tests notice deliberate faults: ``python -m tests.mutants [PART OF A PATH...]``; what ``make mutants`` runs.

Works on a copy of the tree. The tests are run without a fault first, and must pass; then with one fault at a time, and
must fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from tests import real_data
from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
_WORKERS = 2
_PASSED, _FAILED = 0, 1


def copied(to: Path) -> Path:
    """The files that git knows."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    web = ROOT / "service" / "web"
    if web.is_dir():
        shutil.copytree(web, to / "service" / "web", dirs_exist_ok=True)
    return to


def status(tree: Path, tests: tuple[str, ...]) -> int:
    """How pytest ends in a tree."""
    environment = {
        **os.environ, "PYTHONPATH": f"{tree}:{tree / 'clients' / 'python'}", "PYTHONDONTWRITEBYTECODE": "1",
        "POLYCHRONY_DATA": str(real_data.folder()), "CI": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode


def tried(fault: Fault, tree: Path) -> str | None:
    """Why a fault was not noticed; None where it was."""
    path = tree / fault.path
    text = path.read_text()
    if text.count(fault.was) != 1:
        return f"the file says it {text.count(fault.was)} times"
    try:
        path.write_text(text.replace(fault.was, fault.becomes))
        found = status(tree, fault.tests)
    finally:
        path.write_text(text)
    return None if found == _FAILED else f"pytest ended with {found}"


def main() -> int:
    wanted = [one for one in FAULTS if not sys.argv[1:] or any(part in one.path for part in sys.argv[1:])]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: Queue[Path] = Queue()
        for i in range(_WORKERS):
            trees.put(copied(Path(folder) / str(i)))

        def in_a_tree(work):
            tree = trees.get()
            try:
                return work(tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(_WORKERS) as pool:
            sets = sorted({one.tests for one in wanted})
            whole = pool.map(lambda tests: in_a_tree(lambda tree: status(tree, tests)), sets)
            broken = [tests for tests, ended in zip(sets, whole, strict=True) if ended != _PASSED]
            if broken:
                print(*(f"fails without any fault: {' '.join(tests)}" for tests in broken), sep="\n")
                return 1
            missed = 0
            found = pool.map(lambda fault: in_a_tree(lambda tree: tried(fault, tree)), wanted)
            for fault, why in zip(wanted, found, strict=True):
                missed += why is not None
                print(
                    f"{'noticed' if why is None else f'NOT NOTICED ({why})'}  {fault.path}: {fault.was.strip()[:70]}",
                    flush=True,
                )
    print(f"{len(wanted) - missed} of {len(wanted)} faults noticed in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
