"""Motif detection measured: ``python -m tests.benchmarks.motifs [PART...] [--write]``.

Parts: ``speed`` (beside torch's dense convolution and a push scatter, the same weights and movie, one thread each),
``area`` (the same patch on larger sensors), ``real_time`` (recordings on one core), ``beyond`` (accuracy on Motion
Clouds, DVS pixels and switching motion), ``real`` (motion fields beside contrast maximisation), ``figures``.
``--write`` puts them into docs/motifs.md.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from kernels._jit import kernel
from kernels.motifs import detection, history, targets
from pipeline import packets
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.models import registry
from pipeline.sensor import Sensor
from pipeline.sinks import kernels as drawings
from pipeline.sources import open_source
from pipeline.spec import validate
from pipeline.training.motifs import evaluation, sources
from pipeline.training.motifs.config import PRESETS
from tests import real_data
from tests.benchmarks import contrast, trials
from tests.benchmarks.pages import write

ROOT = Path(__file__).parents[2]
DATA = real_data.folder()
PAGE = ROOT / "docs" / "motifs.md"
ROUNDS = 5


def bank36():
    return registry.load("motif36")


def maker36():
    return sources.maker(PRESETS["motif36"].model_copy(update={"leaves": 0}))


def paper_movie():
    """128 x 128 x 200 ms of one held-out image, one motion, at the paper's density."""
    return evaluation.trials(maker36(), "held_out", 5)(4)[0]


def seconds_of(run, rounds=ROUNDS):
    run()
    found = []
    for _ in range(rounds):
        started = time.process_time()
        result = run()
        found.append(time.process_time() - started)
    return statistics.median(found), result


def detector(
    movie, bank, where=targets.EVERY_EVENT, width=128, height=128, left=0, top=0, with_evidence=False
):
    """A function that runs a movie through the kernel, on a sensor of a size."""
    t, x, y, p = movie.events
    x, y = (x + left).astype(np.uint16), (y + top).astype(np.uint16)

    def run():
        past = history.new_history(width, height, bank.width, bank.height)
        lists = detection.new_lists(width, height, bank)
        return detection.advance(t, x, y, p, past, lists, bank, 1000, 2**60, with_evidence, where)

    return run


def dense(movie, bank):
    """Winners of every voxel by torch's conv3d on one thread, contrast flip included: (seconds, [bin, y, x])."""
    import torch

    torch.set_num_threads(1)
    t, x, y, p = movie.events
    bins, delays, half = len(movie.label), bank.weight.shape[2], bank.weight.shape[-1] // 2
    active = torch.zeros(1, 2, bins, 128, 128)
    active[0, p.astype(np.int64), t // 1000, y.astype(np.int64), x.astype(np.int64)] = 1
    weight = torch.from_numpy(bank.weight.copy()).flip(2)  # torch's last plane is now
    bias = torch.from_numpy(bank.bias)
    started = time.process_time()
    with torch.no_grad():
        sums = None
        for shown in (active, active.flip(1)):
            padded = torch.nn.functional.pad(shown, (half, half, half, half, delays - 1, 0))
            one = torch.nn.functional.conv3d(padded, weight, bias)
            sums = one if sums is None else torch.maximum(sums, one)
        winners = sums[0].argmax(0)
    return time.process_time() - started, winners.numpy(), f"torch {torch.__version__}"


@kernel
def _push(t, x, y, p, bin_us, weight, ring):
    """Scatter each event into all potentials that it will reach: weight [delay, dy, dx, lane], ON first."""
    delays, size, lanes = weight.shape[0], weight.shape[1], weight.shape[3]
    half, classes = size // 2, lanes // 2
    for i in range(t.size):
        now = t[i] // bin_us
        for d in range(delays):
            slot = ring[(now + d) % delays]
            for dy in range(size):
                row = np.int64(y[i]) - (dy - half)
                if not 0 <= row < slot.shape[0]:
                    continue
                for dx in range(size):
                    column = np.int64(x[i]) - (dx - half)
                    if 0 <= column < slot.shape[1]:
                        for c in range(classes):
                            slot[row, column, c] += weight[d, dy, dx, c if p[i] else classes + c]
                            slot[row, column, classes + c] += weight[d, dy, dx, classes + c if p[i] else c]


def push_seconds(movie, bank, n=1500):
    """Seconds an event of the straightforward scatter."""
    weight = np.concatenate([bank.weight[:, 1], bank.weight[:, 0]]).transpose(1, 2, 3, 0).copy()
    ring = np.zeros((weight.shape[0], 128, 128, weight.shape[3]), np.float32)
    columns = tuple(c[:n] for c in movie.events)
    spent, _ = seconds_of(lambda: _push(*columns, 1000, weight, ring), rounds=3)
    return spent / n


def speed():
    movie, bank = paper_movie(), bank36()
    n = len(movie.events[0])
    torch_s, winners, torch_version = dense(movie, bank)
    push_s = push_seconds(movie, bank) * n
    density = n / movie.label.size / 128**2 / 2
    lines = [
        f"One movie of 128 x 128 x 200 ms, {n:,} events ({density:.1%} of the voxels per polarity), `motif36`, evaluated",
        f"at every event, {torch_version}, one thread each.", "",
        "| | seconds | us an answer | times torch | winners as torch's |", "|---|---|---|---|---|",
        f"| torch conv3d, everywhere, flip included | {torch_s:.1f} | | 1 | |",
        f"| push: every event scattered into all potentials (extrapolated from 1,500) | {push_s:.0f} | "
        f"{push_s / n * 1e6:.0f} | {torch_s / push_s:.2f} | |",
    ]  # fmt: skip
    full = None
    for keep in (1.0, 0.1, 0.02):
        spent, found = seconds_of(detector(movie, bank.taps(keep)))
        full = full or spent
        same = np.mean(winners[found.bin, found.y, found.x] == found.label)
        lines.append(
            f"| Polychrony, `keep: {keep:g}` | {spent:.3f} | {spent / len(found.bin) * 1e6:.2f} | "
            f"{torch_s / spent:.0f} | {same:.2%} |"
        )
    for title, where in (
        ("every 4th event", targets.at_events(4)), ("every 16th event", targets.at_events(16)),
        ("grid of 4 pixels", targets.on_grid(4)), ("everywhere", targets.on_grid(1)),
    ):  # fmt: skip
        spent, found = seconds_of(detector(movie, bank.taps(), where), 1 if title == "everywhere" else 3)
        lines.append(
            f"| Polychrony, {title} | {spent:.3f} | {spent / len(found.bin) * 1e6:.2f} | {torch_s / spent:.0f} | |"
        )
    return [*lines, "", f"The detector is {push_s / full:.0f} times as fast as the push scatter.", ""]


def area():
    movie, bank = paper_movie(), bank36().taps()
    lines = ["| sensor | seconds | of 128x128 |", "|---|---|---|"]
    first = None
    for width, height in ((128, 128), (346, 260), (640, 480), (1280, 720)):
        left, top = (width - 128) // 2, (height - 128) // 2
        # A border's motifs see less, so the first sensor is padded as the others are.
        spent, _ = seconds_of(detector(movie, bank, width=width, height=height, left=left, top=top))
        first = first or spent
        lines.append(f"| {width}x{height} | {spent:.3f} | {spent / first:.2f} |")
    return [*lines, ""]


def recording(name):
    source = open_source(DATA / "recordings" / name)
    return packets.join([reading.events for reading in source.batches()]), source.info.sensor


REAL_TIME = (
    ("motif8, every event", {"model": "motif8"}),
    ("motif36, keep 0.02, every 4th event", {"model": "motif36", "keep": 0.02, "at": {"every": 4}}),
    ("motif36, every event", {"model": "motif36"}),
)


def real_time():
    lines = ["| recording | events | bank | Mev/s | times real time |", "|---|---|---|---|---|"]
    for name in ("davis346.aedat4", "evt3_640x480.raw"):
        columns, sensor = recording(name)
        duration = (int(columns[0][-1]) - int(columns[0][0])) / 1e6
        for title, stage in REAL_TIME:
            spec = validate({"stages": [{"id": "motion", "kind": "motif", **stage}]})

            def run(spec=spec, sensor=sensor, columns=columns):
                engine = Engine(Graph(spec, sensor))
                for at in range(0, len(columns[0]), 65_536):
                    engine.feed(packets.cut(columns, at, at + 65_536))
                return engine.end()

            spent, _ = seconds_of(run, 3)
            n = len(columns[0])
            lines.append(f"| {name} | {n:,} | {title} | {n / spent / 1e6:.2f} | {duration / spent:.1f} |")
    return [*lines, ""]


def beyond():
    maker, bank = maker36(), bank36()
    kinds = {"whole": bank.taps(), "keep 0.02": bank.taps(0.02)}
    threads, n = os.cpu_count() or 1, 360
    table = [
        ("Motion Clouds, orientation random", trials.cloud_trials(maker, 1, "random"), "37 %"),
        ("Motion Clouds, stripes across the motion", trials.cloud_trials(maker, 1, "across"), "82 %"),
        ("DVS pixels, `ideal`", trials.dvs_trials(maker, 1, "ideal"), ""),
        ("DVS pixels, `noisy`", trials.dvs_trials(maker, 1, "noisy"), ""),
    ]
    lines = [f"| {n} movies of one motion each | whole | keep 0.02 | paper |", "|---|---|---|---|"]
    for title, make, paper in table:
        scores = evaluation.compare(kinds, make, n, 3, threads)
        lines.append(f"| {title} | {scores['whole'].right:.1%} | {scores['keep 0.02'].right:.1%} | {paper} |")
    rows = {name: trials.switching(taps, maker, 1, 72) for name, taps in kinds.items()}
    lines.append(
        f"| each ms of motion that switches (72 movies) | {rows['whole'][0]:.1%} | {rows['keep 0.02'][0]:.1%} | |"
    )
    after = rows["whole"][1]
    told = ", ".join(f"{after[k]:.0%} after {k} ms" for k in (0, 3, 6, 9, 12, 15, 21))
    return [*lines, "", f"After a switch the answer of the whole bank is right in {told}.", ""]


def real():
    lines = [
        "| recording | bank | tiles where both are sure | median direction error | within 45 degrees |",
        "|---|---|---|---|---|",
    ]
    tile, window_us = 32, 40_000
    for name in ("davis346.aedat4", "evt3_640x480.raw"):
        columns, sensor = recording(name)
        other = contrast.field(columns, sensor.width, sensor.height, tile, window_us)
        for model in ("motif8", "motif36"):
            errors = direction_errors(field_of(columns, sensor, model, tile, window_us), other)
            lines.append(
                f"| {name} | {model} | {len(errors)} | {np.median(errors):.0f} degrees | {np.mean(errors < 45):.0%} |"
            )
    return [*lines, ""]


def field_of(columns, sensor: Sensor, model, tile, window_us):
    stages = [
        {"id": "clean", "kind": "background_activity"},
        {"id": "motion", "kind": "motif", "model": model},
        {
            "id": "field",
            "kind": "motion_field",
            "input": "motion.evidence",
            "tile": tile,
            "window_us": window_us,
        },
    ]
    engine = Engine(Graph(validate({"stages": stages, "outputs": ["field"]}), sensor))
    return np.concatenate([r.rows for r in engine.feed(columns) + engine.end()])


def direction_errors(rows, other, confidence=0.3, unanimity=0.9, slowest=0.06):
    """Degrees between the two estimates where both are confident, and it moves."""
    found = []
    for row in rows:
        theirs = other.get((int(row["t"]), int(row["x"]), int(row["y"])))
        if theirs is None or row["confidence"] < confidence or theirs[2] < unanimity:
            continue
        if np.hypot(theirs[0], theirs[1]) < slowest or np.hypot(row["vx"], row["vy"]) < slowest:
            continue
        turn = np.arctan2(row["vy"], row["vx"]) - np.arctan2(theirs[1], theirs[0])
        found.append(abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn)))))
    return np.array(found)


def figures():
    """Pictures of the page; the curves are those of the card."""
    import matplotlib as mpl

    from pipeline.sinks.style import STYLE

    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        drawings.curves(bank36()).savefig(folder / "motif36-curves.svg", metadata={"Date": None})
        drawings.draw(bank36()).savefig(folder / "motif36-kernels.png", dpi=110)
    accuracy = bank36().card.accuracy
    pruned = {float(k): v for k, v in accuracy["pruning"].items()}
    paper = dict(drawings.PAPER_PRUNING)
    lines = [
        "| share of the weights kept | `motif36` | paper |",
        "|---|---|---|",
        f"| 1 | {accuracy['class']:.1%} | 97.5% |",
    ]
    for keep, value in pruned.items():
        lines.append(f"| {keep:g} | {value:.1%} | {f'{paper[keep]:.1%}' if keep in paper else ''} |")
    lines += ["", "| delays kept of 21 | `motif36` | paper, at the nearest share |", "|---|---|---|"]
    for delays, value in accuracy["shortening"].items():
        share = int(delays) / 21
        near = min(drawings.PAPER_SHORTENING, key=lambda point: abs(point[0] - share))
        lines.append(
            f"| {delays} | {value:.1%} | {f'{near[1]:.1%} ({near[0]:g})' if abs(near[0] - share) < 0.06 else ''} |"
        )
    return [*lines, ""]


PARTS = {
    "speed": speed, "area": area, "real_time": real_time, "beyond": beyond, "real": real, "figures": figures,
}  # fmt: skip


if __name__ == "__main__":
    for part in [one for one in sys.argv[1:] if one in PARTS] or list(PARTS):
        made = PARTS[part]()
        print(f"## {part}\n", *made, sep="\n", flush=True)
        if "--write" in sys.argv:
            write("motifs.md", part, made)
