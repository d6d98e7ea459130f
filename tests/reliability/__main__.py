"""``python -m tests.reliability [LINE...] [--scale short|bounded|full] [--write]``: holds the service to its list.

Each line is done by its check; docs/reliability.md gets what came of it. With ``--resume`` lines that a run of the same
scale has done already are taken from it.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.reliability.checks import CannotRun, Scale, every

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
KEPT = ROOT / ".polychrony" / "reliability"


def run(check, scale):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="polychrony-") as folder:
        try:
            figure, result = check.run(scale, Path(folder)), "pass"
        except CannotRun as why:
            figure, result = str(why), "not run"
        except Exception as problem:
            figure, result = f"{type(problem).__name__}: {problem}"[:600], "FAIL"
    return {
        "figure": figure.replace("\n", " ").replace("|", "/"),
        "result": result,
        "seconds": time.monotonic() - started,
    }


def machine():
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, Python {platform.python_version()}."


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lines", nargs="*", type=int)
    parser.add_argument("--scale", choices=[scale.value for scale in Scale], default="bounded")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    parser.add_argument("--resume", action="store_true", help="keep what this scale has done already")
    asked = parser.parse_args()
    scale = Scale(asked.scale)
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"{scale.value}.json"
    known = json.loads(kept.read_text()) if kept.exists() and (asked.resume or asked.lines) else {}
    for check in every():
        if asked.lines and check.number not in asked.lines:
            continue
        if asked.resume and known.get(str(check.number), {}).get("result") == "pass":
            continue
        print(f"{check.number:2}  {check.title} ...", flush=True)
        found = known[str(check.number)] = run(check, scale)
        print(f"    {found['result']} in {found['seconds']:.0f} s: {found['figure']}", flush=True)
        kept.write_text(json.dumps(known, indent=1))
    if asked.write:
        PAGE.write_text(page(known, scale))
    return any(found["result"] == "FAIL" for found in known.values())


def page(known, scale):
    unknown = {
        "figure": "not run at this scale yet; its short form runs in the test suite",
        "result": "not run",
    }
    rows = [
        f"| {check.number} | {check.title} | {check.demand} | {found['figure']} | {found['result']} |"
        for check in every()
        for found in [known.get(str(check.number), unknown)]
    ]
    total = sum(found["seconds"] for found in known.values())
    return "\n".join([
        "# Reliability",
        "",
        "What the service is held to, and what came of it. `make reliability` does it all within half an hour and writes this",
        "page; `make reliability-full` takes each line's full length and can be resumed. Line N alone: `python -m tests.reliability N`.",
        "",
        f"Scale: {scale.value}, {total / 60:.0f} minutes. {machine()}",
        "",
        "| # | check | must hold | figure | |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
