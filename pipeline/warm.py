"""Compiling kernels before they are needed, and noticing when one is compiled after all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba.core.event as numba_event
import numpy as np

from kernels.coding import decode, events
from kernels.motifs import coincidence, detection, history, merging
from kernels.motifs._sums import WIDTHS
from kernels.motion import groups
from kernels.networks import delta, encoding, neurons, synapses
from kernels.video import warp
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.spec import validate

_SENSOR = Sensor(width=64, height=48)
_SPECS: tuple[dict[str, Any], ...] = (
    {
        "stages": [
            {"id": "crop", "kind": "crop", "x": 0, "y": 0, "width": 60, "height": 40},
            {"id": "coarse", "kind": "downsample", "factor": 1},
            {"id": "quiet", "kind": "refractory"},
            {"id": "clean", "kind": "background_activity"},
            {"id": "motion", "kind": "motif", "model": "motif8", "threshold": {"probability": 0.5}},
            {"id": "field", "kind": "motion_field", "input": "motion.evidence", "min_rows": 1},
            {"id": "camera", "kind": "global_motion", "min_tiles": 3, "min_spread": 0.0},
            {"id": "alarm", "kind": "looming"},
            {"id": "movers", "kind": "movers", "input": "field", "min_spread": 0.0, "min_confidence": 0.0},
            {"id": "flow", "kind": "optical_flow", "input": "clean", "every": 1, "min_events": 1},
            {"id": "energy", "kind": "motion_energy", "input": "clean"},
            {"id": "even", "kind": "gain"},
            {"id": "steered", "kind": "motif", "input": "clean", "model": "motif8", "at": {"grid": 4},
             "threshold": {"rate_hz": 100}, "learn": {}},
        ],
        "outputs": ["clean", "motion", "field", "alarm", "movers", "flow", "energy", "even", "steered"],
    },
    {
        "stages": [
            {"id": "heard", "kind": "reservoir", "neurons": 5, "window_steps": 2, "balance": 0.1, "astrocyte": True},
            {"id": "words", "kind": "complexity", "input": "source", "tile": 16, "bin_us": 1000, "window_bins": 10},
        ],
        "outputs": ["heard", "words"],
    },
)  # fmt: skip


def on_compilation(callback: Callable[[str], None]) -> None:
    """Call ``callback`` with a kernel's name whenever numba compiles one; loads from its cache are none."""

    class _Listener(numba_event.Listener):
        def on_start(self, event: Any) -> None:
            dispatcher = event.data["dispatcher"]
            callback(dispatcher.py_func.__name__.lstrip("_"))

        def on_end(self, event: Any) -> None:
            pass

    numba_event.register("numba:compile", _Listener())


def warm(progress: Callable[[float], None] = lambda _: None) -> None:
    """Run every kernel once on a little recording, with the very types that streams use."""
    jobs: list[Callable[[], None]] = [
        _warm_emulator, _warm_decoders, *(_warmer(spec) for spec in _SPECS),
        *(partial(_warm_detectors, width) for width in WIDTHS), _warm_networks, _warm_tiles,
    ]  # fmt: skip
    for i, job in enumerate(jobs):
        job()
        progress((i + 1) / len(jobs))


def _little_recording() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    n = 600
    t = np.sort(rng.integers(0, 40_000, n))
    x, y = rng.integers(0, 40, n).astype(np.uint16), rng.integers(0, 30, n).astype(np.uint16)
    return t, x, y, rng.random(n) < 0.5


def _warmer(spec: dict[str, Any]) -> Callable[[], None]:
    def job() -> None:
        engine = Engine(Graph(validate(spec), _SENSOR))
        t, x, y, p = _little_recording()
        engine.feed((t, x, y, p))
        for name in spec["outputs"]:
            engine.label(name, "right 0.45", 0, 40_000)
        engine.end()

    return job


def _warm_detectors(lanes: int) -> None:
    """Banks of every width that a table can have, whichever a user brings."""
    t, x, y, p = _little_recording()
    classes = min(lanes, 3 if lanes == WIDTHS[0] else lanes)
    bias = np.zeros(classes, np.float32)
    bank = detection.taps(np.ones((classes, 2, 2, 3, 3), np.float32), bias, False)
    past, lists = history.new_history(40, 30, 3, 3), detection.new_lists(40, 30, bank)
    found = detection.advance(t, x, y, p, past, lists, bank, 1000, 2**60, True)
    detection.rebuild(lists, past)
    for rows in (found.evidence, found.evidence[:0]):  # of two threads
        half = found._replace(evidence=rows)
        merging.merged((half, half))
    for push in (False, True):
        synapses = coincidence.synapses(np.ones((classes, 40, 2), np.float32), bias, push)
        arrivals = coincidence.new_arrivals(synapses)
        coincidence.advance(t, x.astype(np.int64), arrivals, synapses, 1000, 2**20)


def _warm_tiles() -> None:
    """What is only needed where things move by themselves."""
    place = np.arange(4, dtype=np.int64)
    groups.groups(place % 2, place // 2, np.ones(4), np.zeros(4), 0.5)


def _warm_networks() -> None:
    """Spiking and Delta layers of every kind, and both ways to cut time into steps."""
    t, x, y, p = _little_recording()
    source = synapses.Shape(30, 40, 2)
    encoder = encoding.new_encoder(source.size)
    encoding.by_count(t[:40], x[:40], y[:40], p[:40], encoder, 40, 2, 1, 30)
    encoding.close(encoder, 1)
    encoding.forget(encoder)
    spikes = encoding.by_time(t, x, y, p, encoder, 40, 2, 1, 1000, 30).spikes
    weight = np.ones((3, 2, 3, 3), np.float32)
    target = synapses.Shape(28, 38, 3)
    connection = synapses.convolution(weight, source)
    for model in ("linear", "lif", "cuba"):
        made = neurons.neurons(model, 3, reset="hard", decay=0.5)
        layer = neurons.Layer(synapses.synapses([connection], target), made)
        neurons.advance(layer, neurons.new_state(layer), spikes)
    two = [(0, spikes), (source.size, spikes)]
    own = np.ones((source.sites, source.channels))
    late = synapses.one_to_one(source, own.astype(np.float32), own.astype(np.int16))
    both = neurons.Layer(
        synapses.synapses([late, synapses.one_to_one(source)], source), neurons.neurons("lif", 2)
    )
    neurons.advance(both, neurons.new_state(both), synapses.merged(two))
    lanes = np.zeros(8, np.float32)
    changing = delta.Layer(synapses.synapses([connection], target), lanes, lanes + 1, 0.0, 255.0)
    state = delta.new_state(changing)
    delta.accumulate(
        changing, state, delta.changes(np.ones(source.size, np.float32), np.zeros(source.size, np.float32))
    )
    moved = delta.advance(changing, state, spikes)
    pool = delta.MaxPool(target, synapses.Shape(14, 19, 3), (2, 2), (2, 2))
    delta.advance_pool(pool, delta.new_pool_state(pool), moved)


def _warm_emulator() -> None:
    for timing in ("interpolated", "compatible"):
        for cutoff_hz in (0.0, 100.0):
            config = EmulatorConfig.model_validate(
                {"timing": timing, "cutoff_hz": cutoff_hz, "refractory_us": 100}
            )
            emulator = Emulator(config, 8, 8)
            for i, level in enumerate((10, 200, 20)):
                emulator.feed(np.full((8, 8), level, np.uint8), i * 1e-3)
    flow, grey = np.ones((8, 8, 2), np.float32), np.zeros((8, 8), np.uint16)
    met = warp.meet(flow, -flow, warp.shifted(flow))
    warp.at(warp.pair(grey, grey, flow, -flow, (met, met), 2, 0.5), 1)


def _warm_decoders() -> None:
    t, x, y, p = _little_recording()
    packed = events.pack_aer64(t, x, y, p, 0)
    events.unpack_aer64(packed, 0)
    events.unpack_frames([(0, packed), (0, packed)])
    events.first_fall_aer64(packed)
    events.first_fall(t)
    for word_bytes in (4, 2):
        decode.decode(decode.Decoder(word_bytes), np.zeros(8, np.uint8).tobytes(), 0)
    decode.decode_aer40(bytes(10))
