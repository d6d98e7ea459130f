"""Every recording through every format that is written, and back: ``python -m tests.benchmarks.round_trips [--write]``.

Equal means t, x, y, p and the sensor's size; a format that cannot hold a recording says why. With --write the matrix goes
into docs/inputs.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline import packets
from pipeline.sinks import recordings
from pipeline.sources import InputOptions, open_source
from tests import real_data
from tests.benchmarks.pages import write

ROOT = Path(__file__).parents[2]
DATA = real_data.folder()
OPTIONS = {"evt2_640x480_noheader.raw": InputOptions(format="EVT2", sensor="640x480")}
SUFFIX = {
    "EVT2": ".raw", "EVT3": ".raw", "DAT": ".dat", "AEDAT4": ".aedat4", "ES": ".es", "HDF5": ".h5", "npz": ".npz",
    "csv": ".csv", "Parquet": ".parquet",
}  # fmt: skip


def paths():
    found = [path for path in (DATA / "recordings").iterdir() if ".packets." not in path.name]
    return sorted([*found, *(DATA / "v2e").glob("*.npz")])


def read(path, options=None):
    """(columns, triggers, sensor, epoch)."""
    source = open_source(path, options)
    parts = list(source.batches())
    triggers = np.concatenate([part.triggers for part in parts])
    return packets.join([part.events for part in parts]), triggers, source.info


def trip(name, path, folder):
    """How a recording came back: ``=``, ``= (n triggers dropped)``, or why it cannot be held."""
    columns, triggers, info = read(path, OPTIONS.get(path.name))
    target = Path(folder) / f"a{SUFFIX[name]}"
    again = open_source(path, OPTIONS.get(path.name))
    try:
        written = recordings.write(target, again.batches(), info.sensor, name, info.epoch_ns)
    except recordings.CannotWrite as problem:
        return f"no: {str(problem).partition(': ')[2].partition(';')[0]}"
    back, marks, seen = read(target)
    for column, other in zip(columns, back, strict=True):
        if not np.array_equal(column, other):
            return "DIFFERS"
    if (seen.sensor, seen.sensor_from) != (info.sensor, "file"):
        return f"DIFFERS in size: {seen.sensor}"
    if recordings.FORMATS[name].triggers and not np.array_equal(
        np.sort(marks[:, 0]), np.sort(triggers[:, 0])
    ):
        return "DIFFERS in triggers"
    return "=" if not written.triggers_left_out else f"= ({written.triggers_left_out:,} triggers dropped)"


def matrix():
    """Rows of the table, and whether all is as it should be."""
    lines = [
        f"| recording | events | {' | '.join(recordings.FORMATS)} |",
        f"|---|---|{'---|' * len(recordings.FORMATS)}",
    ]
    good = True
    for path in paths():
        n = len(read(path, OPTIONS.get(path.name))[0][0])
        with TemporaryDirectory() as folder:
            cells = [trip(name, path, folder) for name in recordings.FORMATS]
        good &= not any("DIFFERS" in cell for cell in cells)
        lines.append(f"| {path.name} | {n:,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines, good


def main():
    lines, good = matrix()
    if "--write" in sys.argv:
        write("inputs.md", "round trips", lines)
    sys.exit(not good)


if __name__ == "__main__":
    main()
