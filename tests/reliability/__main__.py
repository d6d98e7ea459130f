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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.reliability.checks import CannotRun, Scale, every

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
UNTIMED = {1, 2, 3, 4}
"""Lines that do not look at the clock: a patient one may go on beside them."""
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
    wanted = [
        check for check in every()
        if (not asked.lines or check.number in asked.lines)
        and not (asked.resume and known.get(str(check.number), {}).get("result") == "pass")
    ]  # fmt: skip

    def note(check, found):
        known[str(check.number)] = found
        print(
            f"{check.number:2}  {found['result']} in {found['seconds']:.0f} s: {found['figure']}", flush=True
        )
        kept.write_text(json.dumps(known, indent=1))

    started = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        waiting = [(check, beside.submit(run, check, scale)) for check in wanted if check.patient]
        for check in wanted:
            if check.patient:
                continue
            if check.number not in UNTIMED:
                while waiting:
                    note(waiting[0][0], waiting.pop(0)[1].result())
            print(f"{check.number:2}  {check.title} ...", flush=True)
            note(check, run(check, scale))
        for check, found in waiting:
            note(check, found.result())
    if len(wanted) == len(every()):
        known["minutes"] = round((time.monotonic() - started) / 60, 1)
        kept.write_text(json.dumps(known, indent=1))
    if asked.write:
        PAGE.write_text(page(known, scale))
    return any(found["result"] == "FAIL" for found in known.values() if isinstance(found, dict))


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
    minutes = known.get("minutes")
    took = f"all of it in {minutes:.0f} minutes" if minutes else "in parts"
    return "\n".join([
        "# Reliability",
        "",
        "What the service is held to, and what came of it. `make reliability` does it all within half an hour and writes this",
        "page; `make reliability-full` takes each line's full length and can be resumed. Line N alone: `python -m tests.reliability N`.",
        "",
        f"Scale: {scale.value}, {took}. {machine()}",
        "",
        "| # | check | must hold | figure | |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
