"""``python -m tests.reliability.security [--write]``: docs/security.md, from the tests that try each threat.

A test says with ``@pytest.mark.threat("threat", "answer")`` what it tries; the page lists these, and the tests are run.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
HEAD = """# Security

Each row is a threat, the service's answer, and the tests that try it on the real service. `make security` runs them and
writes this page; it is only written where all tests pass. [plugins.md](plugins.md) says what a plug-in may do.

| threat | answer | tests |
|---|---|---|
"""


class Collector:
    """What the tests say they try, and how they ended."""

    def __init__(self):
        self.threats = {}
        self.tests = defaultdict(set)
        self.ran = defaultdict(int)
        self.failed = set()
        self._of = {}

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.get_closest_marker("threat")]
        for item in items:
            threat, answer = item.get_closest_marker("threat").args
            self.threats[threat] = answer
            self.tests[threat].add(f"{Path(item.fspath).name}::{item.originalname}")
            self._of[item.nodeid] = threat

    def pytest_runtest_logreport(self, report):
        threat = self._of[report.nodeid]
        self.ran[threat] += report.when == "call" and report.passed
        if report.failed:
            self.failed.add(threat)


def collected(run):
    collector = Collector()
    pytest.main(
        [str(ROOT / "tests"), "-q", "-p", "no:cacheprovider", *([] if run else ["--collect-only", "-q"])],
        [collector],
    )
    return collector


def page(found):
    rows = [
        f"| {threat} | {found.threats[threat]} | {', '.join(f'`{name}`' for name in sorted(found.tests[threat]))} |"
        for threat in sorted(found.threats)
        if threat not in found.failed
    ]
    return HEAD + "\n".join(rows) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    found = collected(run=asked.write)
    if asked.write:
        PAGE.write_text(page(found))
    print(
        f"{len(found.threats)} threats, {sum(found.ran.values())} tests passed, failed: {sorted(found.failed) or 'none'}"
    )
    return bool(found.failed)


if __name__ == "__main__":
    sys.exit(main())
