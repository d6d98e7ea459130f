"""How fast the parts are: ``make bench``. Figures compare within one run; machines are noisy."""

import cv2
import numpy as np
import pytest

from kernels import filters
from kernels.coding import decode, events
from kernels.coding.decode import Decoder
from pipeline import packets, samples, wire
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.sources import open_source
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.spec import preset, presets

RECORDING = "evt3_640x480.raw"


@pytest.fixture(scope="module")
def recording(data_dir):
    source = open_source(data_dir / "recordings" / RECORDING)
    return packets.join([reading.events for reading in source.batches()]), source.info.sensor


def rate(benchmark, n):
    """Million events a second of the fastest round, kept beside the times."""
    if benchmark.stats is not None:
        benchmark.extra_info["Mev/s"] = round(n / benchmark.stats.stats.min / 1e6, 2)


def test_decode_evt3(benchmark, data_dir):
    raw = (data_dir / "recordings" / RECORDING).read_bytes()
    while raw.startswith(b"%"):
        raw = raw[raw.index(b"\n") + 1 :]
    found = benchmark(lambda: decode.decode(Decoder(2), raw))
    assert len(found[0]) == 343_474
    rate(benchmark, len(found[0]))


def test_unpack_aer64(benchmark, recording):
    (t, x, y, p), _ = recording
    rows = events.pack_aer64(t, x, y, p, int(t[0]))
    benchmark(lambda: events.unpack_aer64(rows, int(t[0])))
    rate(benchmark, len(t))


def test_background_activity(benchmark, recording):
    (t, x, y, _), sensor = recording
    kept = benchmark(
        lambda: filters.background_activity(
            t, x, y, filters.blank_map(sensor.width + 2, sensor.height + 2), 5000
        )
    )
    assert 0 < kept.sum() < len(t)
    rate(benchmark, len(t))


# `digits` looks at 34x34 pixels, which this recording does not have.
@pytest.mark.parametrize("name", [name for name in presets() if name != "digits"])
def test_preset(benchmark, recording, name):
    columns, sensor = recording

    def run():
        engine = Engine(Graph(preset(name), sensor))
        for at in range(0, len(columns[0]), 65_536):
            engine.feed(packets.cut(columns, at, at + 65_536))
        engine.end()
        return engine

    assert sum(benchmark(run).rows.values()) > 0
    rate(benchmark, len(columns[0]))


@pytest.mark.parametrize("timing", ["interpolated", "compatible"])
def test_emulator(benchmark, timing):
    capture, frames = cv2.VideoCapture(str(samples.CLIP)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
    capture.release()

    def run():
        emulator = Emulator(EmulatorConfig(timing=timing), frames[0].shape[1], frames[0].shape[0])
        return sum(len(emulator.feed(frame, i / 500)[0]) for i, frame in enumerate(frames))

    made = benchmark(run)
    assert made > 100_000
    rate(benchmark, made)
    if benchmark.stats is not None:
        pixels = len(frames) * frames[0].size
        benchmark.extra_info["Mpixel-frames/s"] = round(pixels / benchmark.stats.stats.min / 1e6, 1)


def test_frame_checks(benchmark):
    """What the event loop does for each frame of 10,000 events."""
    payload = np.arange(10_000, dtype=np.uint64).tobytes()
    raw = wire.build(wire.EVENTS, wire.AER64, 1, 0, 10_000, payload)
    assert benchmark(lambda: wire.parse(raw)).count == 10_000
    rate(benchmark, 10_000)


def test_sensor_grows_without_cost(benchmark):
    """A quiet 1280x720 stream costs no more than its events."""
    rng = np.random.default_rng(0)
    n = 20_000
    columns = (
        np.sort(rng.integers(0, 200_000, n)), rng.integers(0, 1280, n).astype(np.uint16),
        rng.integers(0, 720, n).astype(np.uint16), rng.random(n) < 0.5,
    )  # fmt: skip
    engine = Engine(Graph(preset("motion"), Sensor(width=1280, height=720)))
    shift = [0]

    def run():
        t, x, y, p = columns
        shift[0] += 200_000
        return engine.feed((t + shift[0], x, y, p))

    assert benchmark(run)
    rate(benchmark, n)
