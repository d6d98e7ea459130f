"""``python docker/supply.py``: what the image is made of, and what is known against it, from its lock file.

Writes ``docker/sbom.cdx.json`` (CycloneDX) and ``docs/vulnerabilities.md``; needs cyclonedx-bom and pip-audit.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "docker" / "full.lock"
BILL = ROOT / "docker" / "sbom.cdx.json"
PAGE = ROOT / "docs" / "vulnerabilities.md"


def write_bill() -> int:
    """The bill of materials; how many parts it has."""
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "requirements", LOCK, "--output-reproducible", "--of", "JSON", "-o", BILL],
        check=True,
    )  # fmt: skip
    bill = json.loads(BILL.read_text())
    for part in bill["components"]:
        part.pop("externalReferences", None)  # addresses of a registry, and hashes that the lock holds
    BILL.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n")
    return len(bill["components"])


def known() -> tuple[list[tuple[str, str, str, str]], int]:
    """(library, version, advisory, mended in) of all that is known against what is locked; how many were looked up."""
    ran = subprocess.run(
        [sys.executable, "-m", "pip_audit", "-r", LOCK, "--disable-pip", "--require-hashes", "-f", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not ran.stdout:
        raise SystemExit(ran.stderr)
    looked_up = [one for one in json.loads(ran.stdout)["dependencies"] if "skip_reason" not in one]
    return [
        (
            one["name"],
            one["version"],
            ", ".join([found["id"], *found["aliases"]]),
            ", ".join(found["fix_versions"]) or "none yet",
        )
        for one in looked_up
        for found in one["vulns"]
    ], len(looked_up)


def main() -> None:
    """Write both."""
    parts, (found, looked_up) = write_bill(), known()
    rows = [f"| {name} | {version} | {advisory} | {fix} |" for name, version, advisory, fix in found]
    table = ["", "| library | version | advisory | mended in |", "|---|---|---|---|", *rows] if rows else []
    said = (
        f"{len(found)} advisories are known against these."
        if looked_up
        else "The database was not reachable, so no library was checked."
    )
    PAGE.write_text("\n".join([
        "# Known vulnerabilities of the image's libraries", "",
        f"`make sbom` asked PyPI's advisory database about the {parts} libraries of `docker/full.lock` on "
        f"{datetime.now(UTC):%Y-%m-%d}, and it answered about {looked_up}.", said,
        "The libraries are listed in `docker/sbom.cdx.json` (CycloneDX). Run it where that database can be reached, before",
        "each release; the lock pins every library, so what it says holds for every image that is built from it.",
        *table, "",
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
