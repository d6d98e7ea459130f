"""The table of speeds by platform in docs/edge.md, from the reports in docs/platforms that people sent.

polychrony bench --report docs/platforms/NAME.json
python -m tests.benchmarks.platforms --write
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.benchmarks.pages import write

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "docs" / "platforms"
SHOWN = ("motion", "view", "egomotion", "motion36", "denoise")
WANTED = ("Raspberry Pi 5", "NVIDIA Jetson Orin Nano", "x86-64 with AVX2 and without AVX-512")


def table(reports):
    """The rows of all reports, and of the platforms that none came from."""
    lines = [
        f"| processor | Python, numba | {' | '.join(f'`{name}`' for name in SHOWN)} |",
        f"|---|---|{'---|' * len(SHOWN)}",
    ]
    for report in reports:
        machine = report["machine"]
        of = {row["pipeline"]: row for row in report["rows"] if row["stage"] is None}
        cells = [
            f"{of[name]['mev_per_s']:.2f} ({of[name]['times_real_time']:.1f} x)" if name in of else ""
            for name in SHOWN
        ]
        where = f"{machine['processor']}, {machine['architecture']}, {machine['cores']} cores"
        lines.append(
            f"| {where} | {machine['python']}, {machine['libraries']['numba']} | {' | '.join(cells)} |"
        )
    lines += [
        f"| {name} | | {' | '.join(['not measured yet'] * len(SHOWN))} |"
        for name in WANTED
        if not any(name in report["machine"]["processor"] for report in reports)
    ]
    return lines


def main():
    reports = [json.loads(path.read_text()) for path in sorted(REPORTS.glob("*.json"))]
    lines = table(reports)
    print("\n".join(lines))
    if "--write" in sys.argv:
        write("edge.md", "platforms", lines)


if __name__ == "__main__":
    main()
