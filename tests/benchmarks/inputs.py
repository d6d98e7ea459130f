"""Ways in beside their peers, one thread each, in one run: ``python -m tests.benchmarks.inputs [--write]``.

Contenders take turns, round by round; a ratio is the median over rounds of the ratio within a round, in seconds of
CPU, because machines are noisy and their noise lasts longer than a round. ``--write`` puts the tables into
docs/benchmarks.md. Peers that are not installed are left out and said so; `pip install evt3` adds one.
"""

from __future__ import annotations

import os

for _name in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import importlib
import platform
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import eventcv
import numba
import numpy as np

from kernels import filters
from kernels.coding import decode
from kernels.coding.decode import Decoder
from kernels.video.photoreceptor import LOG_TABLE
from pipeline import packets
from pipeline.sinks import recordings
from pipeline.sources import PRESETS, open_source
from pipeline.sources.emulator import Emulator
from tests import real_data

ROOT = Path(__file__).parents[2]
DATA = real_data.folder()
PAGE = ROOT / "docs" / "benchmarks.md"
ROUNDS = 7


def race(contenders, rounds=ROUNDS):
    """CPU seconds per round of each contender, which take turns."""
    for run in contenders.values():
        run()
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.process_time()
            run()
            seconds[name].append(max(time.process_time() - started, 1e-9))
    return seconds


def ratio(seconds, ours, theirs):
    """How many times faster ours is: median over rounds, and the least."""
    per_round = [b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True)]
    return statistics.median(per_round), min(per_round)


def rows_of(seconds, ours, work, unit):
    """Lines of a table: contender, rate, and ours over theirs."""
    lines = []
    for name, times in seconds.items():
        rate = f"{work / statistics.median(times) / 1e6:.1f}"
        middle, least = ratio(seconds, ours, name)
        lines.append(f"| {name} | {rate} {unit} | {'' if name == ours else f'{middle:.2f} ({least:.2f})'} |")
    return lines


def events_of(path):
    source = open_source(path)
    return packets.join([reading.events for reading in source.batches()]), source.info.sensor


def decoders():
    """EVT3 and EVT2 bytes to columns; each decoder from the file, as it offers."""
    from faery import file_decoder

    lines = []
    for name, word_bytes in (
        ("evt3_1280x720_25mevs.raw", 2), ("evt3_640x480.raw", 2), ("evt2_640x480_noheader.raw", 4),
    ):  # fmt: skip
        path = DATA / "recordings" / name
        raw = path.read_bytes()
        while raw.startswith(b"%"):
            raw = raw[raw.index(b"\n") + 1 :]
        kind = "evt3" if word_bytes == 2 else "evt2"

        def ours(raw=raw, word_bytes=word_bytes):
            decoder = Decoder(word_bytes)
            return sum(
                len(decode.decode(decoder, raw[at : at + 2**20])[0]) for at in range(0, len(raw), 2**20)
            )

        def by_faery(path=path, kind=kind):
            stream = file_decoder.Decoder(path, dimensions_fallback=(1280, 720), version_fallback=kind)
            return sum(
                len([np.ascontiguousarray(rows[c]) for c in ("t", "x", "y", "on")][0]) for rows in stream
            )

        def by_eventcv(path=path):
            rows = eventcv.load(str(path), sensor_size=(16384, 16384)).numpy()
            return len([np.ascontiguousarray(rows[:, c]) for c in range(4)][0])

        contenders = {"Polychrony, incremental": ours, "faery": by_faery, "eventcv": by_eventcv}
        if word_bytes == 2 and (crate := optional("evt3")):
            contenders["evt3 (crate)"] = lambda path=path: len(crate.decode_file(str(path)))
        n = ours()
        seconds = race(contenders)
        lines += [
            f"**{name}**, {n:,} events",
            "",
            "| decoder | rate | Polychrony is faster by (least) |",
            "|---|---|---|",
        ]
        lines += [*rows_of(seconds, "Polychrony, incremental", n, "Mev/s"), ""]
    return ["## Decoders", "", *lines]


def files():
    """Whole files through sources, against the library that reads them where one does."""
    from faery import file_decoder

    lines = ["| format | rate | library alone, with columns | of its speed |", "|---|---|---|---|"]
    truth, sensor = events_of(DATA / "recordings" / "evt3_640x480.raw")
    from pipeline.sources import Reading

    def by_faery(path):
        return lambda: sum(
            len([np.ascontiguousarray(rows[c]) for c in ("t", "x", "y", "on")][0])
            for rows in file_decoder.Decoder(path)
        )

    with TemporaryDirectory() as folder:
        for kind, suffix, library in (
            ("AEDAT4", "aedat4", by_faery),
            ("ES", "es", by_faery),
            ("DAT", "dat", by_faery),
        ):
            path = Path(folder) / f"a.{suffix}"
            recordings.write(path, [Reading(truth, 1.0)], sensor, kind)
            seconds = race(
                {
                    "ours": lambda path=path: sum(len(r.events[0]) for r in open_source(path).batches()),
                    "library": library(path),
                }
            )
            n = len(truth[0])
            middle = ratio(seconds, "ours", "library")[0]
            rates = [n / statistics.median(seconds[name]) / 1e6 for name in ("ours", "library")]
            lines.append(f"| {kind} | {rates[0]:.1f} Mev/s | {rates[1]:.1f} Mev/s | {middle:.2f} |")
    return ["## Files through a source (order, sensor and clock checked)", "", *lines, ""]


@numba.njit(cache=False)
def _bare(frame, table, level, counts, t, xs, ys, p):
    """What no simulator can do without: read each pixel, look up its logarithm, write its events."""
    i = 0
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            level[y, x] = table[frame[y, x]]
            for k in range(counts[y, x]):
                t[i], xs[i], ys[i], p[i] = k, x, y, True
                i += 1


@numba.njit(cache=False)
def _barest(frame, table, level, t, xs, ys, p):
    """The same with events written in one go, wherever they come from."""
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            level[y, x] = table[frame[y, x]]
    for i in range(t.size):
        t[i], xs[i], ys[i], p[i] = i, i & 255, i & 127, True


def emulator():
    """The DVS pixel on bikes.mp4: same frames, same thresholds, no noise, and v2e's presets beside."""
    lines = []
    for size in ((346, 260), None):
        frames = _frames(size)
        height, width = frames[0].shape
        stack, pixels = np.stack(frames), len(frames) * frames[0].size
        counts = _counts(frames)

        def ours(preset, frames=frames, width=width, height=height, timing="interpolated"):
            made = Emulator(PRESETS[preset].model_copy(update={"timing": timing}), width, height)
            return sum(len(made.feed(frame, i / 25)[0]) for i, frame in enumerate(frames))

        def bare(run, frames=frames, counts=counts):
            level = np.empty(frames[0].shape, np.float32)
            for frame, count in zip(frames, counts, strict=True):
                n = int(count.sum())
                columns = (
                    np.empty(n, np.int64),
                    np.empty(n, np.uint16),
                    np.empty(n, np.uint16),
                    np.empty(n, np.bool_),
                )
                run(frame, LOG_TABLE, level, *([count] if run is _bare else []), *columns)

        def peer(stack=stack, **options):
            return eventcv.simulate(
                stack,
                fps=25,
                sigma_thres=0,
                leak_rate_hz=0,
                shot_noise_rate_hz=0,
                cutoff_hz=0,
                refractory_us=0,
                **options,
            )

        seconds = race(
            {
                "Polychrony, ideal": lambda: ours("ideal"),
                "Polychrony, ideal, v2e's slots": lambda: ours("ideal", timing="compatible"),
                "Polychrony, clean": lambda: ours("clean"),
                "Polychrony, v2e's defaults": lambda: ours("v2e"),
                "Polychrony, noisy": lambda: ours("noisy"),
                "bare pass, events pixel by pixel": lambda: bare(_bare),
                "bare pass, events in one go": lambda: bare(_barest),
                "eventcv, as it comes (adaptive steps)": peer,
                "eventcv, one step a frame": lambda: peer(upsample="off"),
            },
            3,
        )
        lines += [
            f"**bikes.mp4 at {width}x{height}**, {len(frames)} frames, {sum(int(c.sum()) for c in counts):,} events", "",
            "| simulator | rate | Polychrony, ideal, is faster by (least) |", "|---|---|---|",
            *rows_of(seconds, "Polychrony, ideal", pixels, "M pixel-frames/s"), "",
        ]  # fmt: skip
    return ["## The DVS pixel", "", *lines]


def _frames(size, most=60):
    capture, frames = cv2.VideoCapture(str(DATA / "video" / "bikes.mp4")), []
    while len(frames) < most and (read := capture.read())[0]:
        grey = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
        frames.append(grey if size is None else cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    return frames


def _counts(frames):
    made, counts = Emulator(PRESETS["ideal"], frames[0].shape[1], frames[0].shape[0]), []
    for i, frame in enumerate(frames):
        _, x, y, _ = made.feed(frame, i / 25)
        count = np.zeros(frame.shape, np.int32)
        np.add.at(count, (y, x), 1)
        counts.append(count)
    return counts


def filtering():
    """Filters on events that lie in memory; dv-processing's in C++, on its own event store."""
    events, sensor = events_of(DATA / "recordings" / "evt3_640x480.raw")
    t, x, y, p = events
    n, lines = len(t), []
    grid = sensor.width + 2, sensor.height + 2

    def ours_ba():
        return int(filters.background_activity(t, x, y, filters.blank_map(*grid), 5000).sum())

    def ours_refractory():
        return int(filters.refractory(t, x, y, filters.blank_map(sensor.width, sensor.height), 500).sum())

    stream = eventcv.from_numpy(
        np.stack([x, y, t, p], axis=1).astype(np.int64),
        sensor_size=(sensor.width, sensor.height),
        time_unit="us",
    )
    ba = {"Polychrony": ours_ba, "eventcv": lambda: stream.background_activity_filter(5000)}
    refractory = {"Polychrony": ours_refractory, "eventcv": lambda: stream.refractory_filter(500)}
    if dv := optional("dv_processing"):
        import datetime

        with TemporaryDirectory() as folder:
            path = Path(folder) / "a.aedat4"
            from pipeline.sources import Reading

            recordings.write(path, [Reading(events, 1.0)], sensor, "AEDAT4")
            reader = dv.io.MonoCameraRecording(str(path))
            stores = []
            while (batch := reader.getNextEventBatch()) is not None:
                stores.append(batch)

        def dv_ba():
            made = dv.noise.BackgroundActivityNoiseFilter(
                (sensor.width, sensor.height),
                backgroundActivityDuration=datetime.timedelta(microseconds=5000),
            )
            kept = 0
            for store in stores:
                made.accept(store)
                kept += made.generateEvents().size()
            return kept

        ba["dv-processing"] = dv_ba
        lines += ["dv-processing has no refractory filter in Python.", ""]
    for name, contenders in (("background_activity", ba), ("refractory", refractory)):
        lines += [f"**{name}**", "", "| filter | rate | Polychrony is faster by (least) |", "|---|---|---|"]
        lines += [*rows_of(race(contenders), "Polychrony", n, "Mev/s"), ""]
    return ["## Filters", "", *lines]


def optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: left out", file=sys.stderr)
        return None


def head():
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    names = ("numpy", "numba", "eventcv", "faery", "evt3", "dv-processing", "opencv-python-headless")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return [
        "# Benchmarks", "",
        "Written by `make bench`. One thread each; contenders take turns within a run; a ratio is the median of the",
        "ratios within a round, its least in brackets. Rates are of CPU seconds and vary with the machine.", "",
        f"{processor}, Python {platform.python_version()}, {', '.join(found)}.", "",
    ]  # fmt: skip


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parts = {"decoders": decoders, "files": files, "emulator": emulator, "filters": filtering}
    chosen = [name for name in sys.argv[1:] if name in parts] or list(parts)
    text = "\n".join(head() + [line for name in chosen for line in parts[name]()]).rstrip() + "\n"
    print(text)
    if "--write" in sys.argv:
        PAGE.write_text(text)
