"""``python -m tests.reliability [LINE...] [--scale short|bounded|full] [--write]``: holds the service to its list.

Each line is done by its check; docs/reliability.md gets what came of it. With ``--resume`` lines that a run of the same
scale has done already are taken from it.
"""

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pipeline.warm import warm
from tests.reliability.checks import CannotRun, Scale, every

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
LONGEST = (6, 3, 4, 2, 7)
"""Of the lines that go on beside each other: begun in this order, so that none is left over in the end."""
KEPT = ROOT / ".polychrony" / "reliability"


def run(check, scale):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="polychrony-", ignore_cleanup_errors=True) as folder:
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
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # sockets are torn from under it on purpose
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
    together = sorted((check for check in wanted if not check.timed), key=_length)
    warm()  # line 3 forks: no other line may be loading a kernel then
    with ThreadPoolExecutor(3) as pool:  # two cores: some of them mostly wait
        going_on = {pool.submit(run, check, scale): check for check in together}
        try:
            for found in as_completed(going_on):
                note(going_on[found], found.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for check in wanted:
        if check.timed:
            print(f"{check.number:2}  {check.title} ...", flush=True)
            note(check, run(check, scale))
    if len(wanted) == len(every()):
        known["minutes"] = round((time.monotonic() - started) / 60, 1)
        kept.write_text(json.dumps(known, indent=1))
    if asked.write:
        PAGE.write_text(page(known, scale) + rest_of_page())
    return any(found["result"] == "FAIL" for found in known.values() if isinstance(found, dict))


def _length(check):
    return LONGEST.index(check.number) if check.number in LONGEST else len(LONGEST)


def rest_of_page():
    """What the attack wrote there (:mod:`tests.reliability.attack`)."""
    _, mark, rest = PAGE.read_text().partition("## Attacks")
    return f"\n{mark}{rest}" if mark else ""


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
        "Reliability requirements of the service, and what was measured. `make reliability` does it all within half an hour and writes this",
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
