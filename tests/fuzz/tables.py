"""Plausible tables, drawn at random: ``python -m tests.fuzz.tables [--files N] [--seed N]``.

Orders, units, separators, headers, comments, polarity codings and containers as people write them. Each must be read as
what was written, or refused in one line, or, where nothing states the unit and the rule for it is wrong, be read with a
warning that names ``--time-unit``. Anything else is wrong.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

UNITS = {"s": 1e-6, "ms": 1e-3, "us": 1.0, "ns": 1e3}
ORDERS = ["".join(one) for one in itertools.permutations("txyp") if one.index("x") < one.index("y")]
USUAL = ("txyp", "xytp", "xypt", "tpxy", "pxyt")
NAMES = {
    "t": ("t", "ts", "timestamp", "time"), "x": ("x", "X", "xs", "x_coordinate"), "y": ("y", "Y", "ys", "y_coordinate"),
    "p": ("p", "pol", "polarity", "on"),
}  # fmt: skip
CODINGS = ("01", "-11", "words", "unsigned")
KINDS = (
    "text",
    "text",
    "text",
    "gzip",
    "utf16",
    "npy",
    "npz",
    "structured",
    "npz table",
    "hdf5",
    "hdf5 table",
    "parquet",
)


def truth(rng):
    """Events as a camera gives them: some thousand, some hundred thousand a second, in bursts."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    n = rng.randint(200, 1500)
    start = rng.choice((0, 0, rng.randint(0, 10**7), 1_650_000_000_000_000))
    t = start + np.cumsum(numbers.integers(0, rng.choice((20, 200, 1500)), n))
    width, height = rng.choice(((64, 48), (240, 180), (346, 260), (640, 480)))
    return (
        t, numbers.integers(0, width, n), numbers.integers(0, height, n), numbers.random(n) < 0.5, (width, height)
    )  # fmt: skip


def polarity(p, coding):
    if coding == "-11":
        return np.where(p, 1, -1)
    return np.where(p, 1, 2**8 - 1).astype(np.uint8) if coding == "unsigned" else p.astype(np.int64)


def times(t, unit, as_float):
    scaled = t * UNITS[unit]
    return scaled if as_float else np.floor(scaled + 1e-9).astype(np.int64)


class Drawn:
    """One file: how it is written, and what reading it must give."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        self.t, self.x, self.y, self.p, self.sensor = truth(rng)
        self.kind, self.coding = rng.choice(KINDS), rng.choice(CODINGS)
        self.unit = rng.choice(("s", "us", "us", "us", "ms", "ns"))
        self.as_float = self.unit == "s" or (self.unit == "ms" and rng.random() < 0.5) or rng.random() < 0.1
        if self.kind not in {"text", "gzip", "utf16"} and self.coding == "words":
            self.coding = "01"
        self.order = rng.choice(ORDERS if rng.random() < 0.4 else USUAL)
        self.named = self.kind in {"npz", "structured", "hdf5", "parquet"} or rng.random() < 0.5
        self.names = {role: rng.choice(NAMES[role]) for role in "txyp"}
        self.unit_named = self.named and rng.random() < 0.4
        if self.unit_named:
            self.names["t"] += f"_{self.unit}"
        self.stated = {}
        if not self.named and rng.random() < 0.4:
            self.stated["columns"] = self.order
        if rng.random() < 0.2:
            self.stated["time_unit"] = self.unit
        self.path = self._write()

    @property
    def columns(self):
        return {
            "t": times(self.t, self.unit, self.as_float),
            "x": self.x,
            "y": self.y,
            "p": polarity(self.p, self.coding),
        }

    @property
    def unit_known(self):
        return self.unit_named or "time_unit" in self.stated or self.unit == ("s" if self.as_float else "us")

    @property
    def expected_us(self):
        written = times(self.t, self.unit, self.as_float)
        if self.as_float:
            return np.rint(written / UNITS[self.unit]).astype(np.int64)
        return (
            (written / UNITS[self.unit]).astype(np.int64)
            if self.unit in {"s", "ms"}
            else written // int(UNITS[self.unit])
        )

    def _write(self):
        made = getattr(self, f"_{self.kind.replace(' ', '_')}")
        return made()

    def _cells(self):
        digits = {"s": 6, "ms": 3, "us": 1, "ns": 1}[self.unit]
        columns = self.columns
        text = {
            "t": [f"{v:.{digits}f}" if self.as_float else str(v) for v in columns["t"].tolist()],
            "x": [str(v) for v in columns["x"].tolist()], "y": [str(v) for v in columns["y"].tolist()],
            "p": [str(v) for v in (self.p.tolist() if self.coding == "words" else columns["p"].tolist())],
        }  # fmt: skip
        return [text[role] for role in self.order]

    def _body(self):
        separator = self.rng.choice((",", ", ", ";", "\t", " "))
        cells = self._cells()
        if separator in {";", "\t"} and self.rng.random() < 0.3:
            cells = [[cell.replace(".", ",") for cell in column] for column in cells]
        if self.rng.random() < 0.1:
            cells = [[f'"{cell}"' for cell in column] for column in cells]
        lines = [separator.join(row) for row in zip(*cells, strict=True)]
        names = [self.names[role] for role in self.order]
        if self.named:
            mark = self.rng.choice(("", "", "# "))
            lines.insert(0, mark + (", " if mark else separator).join(names))
        if self.rng.random() < 0.15:
            lines.insert(0, f"# sensor: {self.sensor[0]}x{self.sensor[1]}")
        if self.rng.random() < 0.1:
            lines.insert(0, "# made by hand")
        return self.rng.choice(("\n", "\n", "\r\n")).join(lines) + self.rng.choice(("\n", ""))

    def _text(self):
        path = self.folder / f"a{self.rng.choice(('.csv', '.txt', '.dat2'))}"
        path.write_text(self._body(), newline="")
        return path

    def _gzip(self):
        path = self.folder / "a.csv.gz"
        path.write_bytes(gzip.compress(self._body().encode()))
        return path

    def _utf16(self):
        path = self.folder / "a.csv"
        path.write_bytes(self._body().encode(self.rng.choice(("utf-16", "utf-8-sig"))))
        return path

    def _table(self):
        columns = [self.columns[role] for role in self.order]
        as_float = self.as_float or self.rng.random() < 0.3
        if as_float:
            self.as_float = True
            columns = [self.columns[role] for role in self.order]
        return np.stack([np.asarray(one, np.float64 if as_float else np.int64) for one in columns], axis=1)

    def _npy(self):
        self.named = self.unit_named = False
        np.save(self.folder / "a.npy", self._table())
        return self.folder / "a.npy"

    def _npz_table(self):
        self.named = self.unit_named = False
        np.savez(self.folder / "a.npz", events=self._table())
        return self.folder / "a.npz"

    def _npz(self):
        np.savez(self.folder / "a.npz", **{self.names[role]: self.columns[role] for role in self.order})
        return self.folder / "a.npz"

    def _structured(self):
        columns = self.columns
        rows = np.empty(len(self.t), [(self.names[role], columns[role].dtype) for role in self.order])
        for role in self.order:
            rows[self.names[role]] = columns[role]
        np.save(self.folder / "a.npy", rows)
        return self.folder / "a.npy"

    def _hdf5(self):
        import h5py

        with h5py.File(self.folder / "a.h5", "w") as file:
            for role in self.order:
                file.create_dataset(f"events/{self.names[role]}", data=self.columns[role])
        return self.folder / "a.h5"

    def _hdf5_table(self):
        import h5py

        self.named = self.unit_named = False
        with h5py.File(self.folder / "a.h5", "w") as file:
            file.create_dataset("events", data=self._table())
        return self.folder / "a.h5"

    def _parquet(self):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(
            pa.table({self.names[role]: self.columns[role] for role in self.order}), self.folder / "a.parquet"
        )
        return self.folder / "a.parquet"


def outcome(drawn):
    """How it was read: ``read``, ``refused``, ``warned``, or what is wrong."""
    from pipeline import packets
    from pipeline.sources import InputOptions, SourceError, open_source

    try:
        source = open_source(drawn.path, InputOptions(**drawn.stated))
        t, x, y, p = packets.join([reading.events for reading in source.batches()])
    except SourceError as problem:
        return "refused" if "\n" not in str(problem) else "refused in more than one line"
    equal = all(np.array_equal(a, b) for a, b in ((x, drawn.x), (y, drawn.y), (p, drawn.p)))
    if (
        equal
        and len(t) == len(drawn.t)
        and np.max(np.abs(t - drawn.expected_us)) <= 1
        and not source.info.repaired
    ):
        return "read"
    if equal and not drawn.unit_known and any("--time-unit" in one for one in source.info.warnings):
        return "warned"
    what = "times" if equal else "columns"
    return f"wrong {what}: {drawn.kind}, order {drawn.order}, unit {drawn.unit}, float {drawn.as_float}, {drawn.stated}"


def run(files, seed=0, tell=print):
    """(counts of outcomes, what went wrong with numbers of the files)."""
    counts, wrong, kinds = Counter(), [], Counter()
    started = time.monotonic()
    for number in range(files):
        rng = random.Random(f"table{seed}-{number}")
        with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            drawn = Drawn(rng, Path(folder))
            said = outcome(drawn)
        counts[said.split(":")[0]] += 1
        kinds[f"{drawn.kind}: {said.split(':')[0]}"] += 1
        if said not in {"read", "refused", "warned"}:
            wrong.append((number, said))
    tell(f"{files:,} tables in {time.monotonic() - started:.0f} s: {dict(counts)}")
    for kind, n in sorted(kinds.items()):
        tell(f"  {kind} {n:,}")
    for number, said in wrong[:20]:
        tell(f"  FAULT table {number}: {said}")
    return counts, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.exit(bool(run(asked.files, asked.seed, lambda line: print(line, flush=True))[1]))


if __name__ == "__main__":
    main()
