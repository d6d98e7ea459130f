"""Repeats the tests that use clocks, sockets or processes, on a machine whose cores are all busy: ``make repeat``.

    python -m tests.repeat [--times 30] [--beside 2] [--keep FILE] [pytest's arguments]

A test that holds on a free machine and not on a busy one has a wait in it that nobody promised. Which runs are done
is kept in FILE, so that it can be broken off and gone on with; the end says which tests failed, and how often.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_PASSED = re.compile(r"(\d+) passed")


def _burn(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while os.getppid() == parent:  # whoever is killed cannot end its children
        sum(range(1_000_000))


def run(arguments: list[str], says: Path) -> dict[str, Any]:
    """One run: how long it took, what passed, what failed; all it said goes to ``says``."""
    started = time.monotonic()
    command = [
        sys.executable, "-m", "pytest", "-n", "logical", "--maxprocesses", "4", "--dist", "loadfile", "-p", "no:cacheprovider", "-rfE",
        *arguments,
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    says.write_text(said)
    passed = _PASSED.search(said)
    return {
        "seconds": round(time.monotonic() - started),
        "exit": ran.returncode,
        "passed": int(passed[1]) if passed else 0,
        "failed": sorted(set(_FAILED.findall(said))),
    }


def _kept(path: Path, arguments: list[str]) -> list[dict[str, Any]]:
    """Runs of these arguments that are done; a last line that was cut is none."""
    found: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [one for one in found if one.get("arguments") == arguments]


def main() -> int:
    """Run it as often as asked."""
    parser = argparse.ArgumentParser(
        description="Repeat the tests that use clocks, sockets or processes beside busy cores."
    )
    parser.add_argument("--times", type=int, default=30, help="runs (default: %(default)s)")
    parser.add_argument(
        "--beside",
        type=int,
        default=os.cpu_count(),
        help="processes that only compute (default: a core each)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        default=_ROOT / "build" / "repeat.jsonl",
        help="what is done (default: %(default)s)",
    )
    asked, rest = parser.parse_known_args()
    rest = rest or ["-m", "timing and not long"]
    asked.keep.parent.mkdir(parents=True, exist_ok=True)
    done = _kept(asked.keep, rest)
    burners = [
        multiprocessing.get_context("spawn").Process(target=_burn, args=(os.getpid(),), daemon=True)
        for _ in range(asked.beside)
    ]
    for burner in burners:
        burner.start()
    try:
        for n in range(len(done), asked.times):
            found = {"arguments": rest} | run(rest, asked.keep.with_suffix(f".{n + 1}.txt"))
            done.append(found)
            with asked.keep.open("a") as kept:
                kept.write(json.dumps(found) + "\n")
            print(
                f"{n + 1} of {asked.times}: {found['passed']} passed in {found['seconds']} s",
                *found["failed"],
                sep="\n  ",
                flush=True,
            )
    finally:
        for burner in burners:
            burner.kill()
    failed = Counter(name for one in done for name in one["failed"])
    print(f"{len(done)} runs, {sum(one['exit'] == 0 for one in done)} of them without a failure")
    for name, n in failed.most_common():
        print(f"  {n} of {len(done)}: {name}")
    return 1 if any(one["exit"] for one in done) else 0


if __name__ == "__main__":
    sys.exit(main())
