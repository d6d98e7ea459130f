"""Ours beside snnTorch, Norse, sinabs and SpikingJelly, each in an environment of its own: their pins conflict.

    python -m tests.parity [FRAMEWORK ...] [--write]

Makes the environments under .polychrony/parity where they are missing, lets each framework export its networks as
.nir files and record what they did, and compares. With --write the tables go into docs/networks.md.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.benchmarks.pages import write
from tests.parity.compare import compare

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PLACE = ROOT / ".polychrony" / "parity"
PINS = {
    "snntorch": ["snntorch==1.0.0"],
    "norse": ["norse==1.1.0"],
    "sinabs": ["sinabs==3.1.3"],
    "spikingjelly": ["spikingjelly==2.0.0"],
}
LAST = ["nir==1.0.8", "nirtorch==2.6"]
"""Put over what a framework pins: older ones cannot write some of its own networks."""


def environment(framework):
    """The interpreter of a framework's environment; made where it is missing."""
    folder = PLACE / framework
    python = folder / "bin" / "python"
    if not (folder / ".done").exists():
        print(f"making {folder} ...", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "torch", "numpy", "h5py", "nir", "nirtorch", *PINS[framework]], check=True)
        subprocess.run([*pip, "--no-deps", *LAST], check=True)
        (folder / ".done").touch()
    return python


def traces(framework):
    """The folder of a framework's networks and of what they did, made anew."""
    out = PLACE / "traces" / framework
    out.mkdir(parents=True, exist_ok=True)
    script = HERE / "frameworks" / f"with_{framework}.py"
    subprocess.run(
        [environment(framework), "-W", "ignore", script, out], check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return out


def main():
    asked = [one for one in sys.argv[1:] if one in PINS] or list(PINS)
    verdicts = [compare(path) for one in asked for path in sorted(traces(one).glob("*.npz"))]
    lines = [
        "| framework | network | active a step, by layer | largest difference of a potential | spikes that differ | "
        "theirs, µs a step | ours | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        differ = "none" if v.forced == 0 and v.diverged < 0 else f"{v.forced}, from step {v.diverged}"
        differ += "" if v.excused else ", not at the threshold"
        rates = ", ".join(f"{rate:.1%}" for rate in v.rates)
        lines.append(
            f"| {v.source} | {v.name.replace('_', ' ')} | {rates} | {v.potential:.0e} | {differ} | "
            f"{v.theirs * 1e6:.0f} | {v.ours * 1e6:.1f} | {v.theirs / v.ours:.1f} |"
        )
    print(*lines, sep="\n")
    if "--write" in sys.argv:
        write("networks.md", "parity", lines)
    bad = [v for v in verdicts if v.potential > 1e-4 or not v.excused]
    return f"{len(bad)} networks do not agree" if bad else 0


if __name__ == "__main__":
    sys.exit(main())
