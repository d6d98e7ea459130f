"""What the default preset says of motion that is known: scenes that are rendered here, and real recordings."""

import json
import math

import numpy as np
import pytest
import safetensors.numpy

import pipeline
from pipeline import packets
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.models import bundle, registry
from pipeline.models.bundle import ModelError
from pipeline.packets import APERTURE
from pipeline.sources import InputOptions, open_source
from pipeline.sources.emulator import PRESETS
from pipeline.spec import Sensor, SpecError, preset, validate
from pipeline.training import images, moving
from pipeline.training.scenes import film

FIELD = validate({**preset("motion").model_dump(mode="json", exclude_none=True), "outputs": ["field"]})


def field_of(columns, width, height):
    engine = Engine(Graph(FIELD, Sensor(width=width, height=height)))
    return np.concatenate([result.rows for result in engine.feed(columns) + engine.end()])


def errors(rows, vx, vy):
    """(degrees, speed over the true one) of rows."""
    turn = np.arctan2(rows["vy"], rows["vx"]) - math.atan2(vy, vx)
    degrees = np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn))))
    return degrees, np.hypot(rows["vx"], rows["vy"]) / math.hypot(vx, vy)


@pytest.mark.parametrize("speed", [0.03, 0.3, 2.5])
@pytest.mark.parametrize("kind", ["texture", "triangle"])
def test_a_field_is_right_from_slow_to_fast(kind, speed):
    leaves = [images.dead_leaves(320, np.random.default_rng(77))]
    rng = np.random.default_rng([5, int(speed * 100)])
    scene = moving.scene(kind, speed, 2.0, 0.8, leaves, rng, max(200.0, min(600.0, 60 / speed)))
    take = film(scene, PRESETS["clean"])
    rows = field_of((take.t, take.x, take.y, take.p), scene.width, scene.height)
    rows = rows[rows["t"] > max(80.0, 5 / speed) * 1000]
    movement = scene.layers[-1].movement
    degrees, factor = errors(rows, movement.vx, movement.vy)
    assert len(rows) > 20
    assert np.median(degrees) <= 10
    assert 0.8 <= np.median(factor) <= 1.25
    sure = rows["confidence"] >= 0.8
    assert np.mean((degrees[sure] <= 15) & (np.abs(np.log(factor[sure])) < math.log(1.3))) >= 0.8


def square(steps, step_us, side=40):
    """A square that moves a pixel to the right and up each step, its four edges told in turn as simulators do."""
    parts = []
    for k in range(steps):
        left, top = 60 + k, 120 - k
        for i in range(side):
            edges = [(left, top + side - 1 - i, 0), (left + side, top + side - 1 - i, 1),
                     (left + i, top + side, 0), (left + i, top, 1)]  # fmt: skip
            parts += [(k * step_us, x, y, p) for x, y, p in edges]
    t, x, y, p = np.array(parts).T
    return t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p > 0


def test_the_order_in_which_a_sensor_scans_does_not_choose_what_is_asked():
    """Of four edges in turn every eighth event was always of the same edge."""
    rows = field_of(square(40, 50_000), 240, 180)
    rows = rows[rows["t"] > 400_000]
    assert np.hypot(np.median(rows["vx"]) - 0.02, np.median(rows["vy"]) + 0.02) < 0.008


def test_a_bar_says_that_movement_along_it_is_unknown():
    scene = moving.scene("bar", 0.2, 0.3, 0.9, [], np.random.default_rng(3), 300.0)
    take = film(scene, PRESETS["ideal"])
    rows = field_of((take.t, take.x, take.y, take.p), scene.width, scene.height)
    rows = rows[rows["t"] > 100_000]
    movement = scene.layers[-1].movement
    degrees, _ = errors(rows, movement.vx, movement.vy)
    narrow = (rows["flags"] & APERTURE) > 0
    assert narrow.any()
    assert np.median(degrees[~narrow]) <= np.median(degrees[narrow])


def test_a_camera_that_tilts(data_dir):
    with np.load(data_dir / "recordings" / "davis240_tilt.npz") as kept:
        t, x, y, p = (kept[name] for name in "txyp")
    rows = field_of((t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p > 0), 240, 180)
    degrees, factor = errors(rows[rows["t"] > int(t[0]) + 200_000], 0.0, -0.03)
    assert len(degrees) > 1500
    assert np.median(degrees) <= 5
    assert 0.9 <= np.median(factor) <= 1.1
    assert np.mean((factor > 1 / 1.3) & (factor < 1.3)) >= 0.9


def test_the_square_of_a_published_set(data_dir):
    source = open_source(data_dir / "cases" / "TranslatingSquare.aedat", InputOptions(sensor="240x180"))
    columns = packets.join([reading.events for reading in source.batches()])
    rows = field_of(columns, 240, 180)
    rows = rows[rows["t"] > int(columns[0][0]) + 500_000]
    assert np.hypot(np.median(rows["vx"]) - 0.02, np.median(rows["vy"]) + 0.02) < 0.006


def test_the_short_way_in_gives_the_same_field():
    events = square(20, 50_000)
    found = pipeline.run("motion", events, (240, 180))["field"]
    np.testing.assert_array_equal(found["vx"], field_of(events, 240, 180)["vx"])


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        ("classes", lambda card, parts: parts | {n: np.append(parts[n], 0).astype(np.int16) for n in ("angle", "speed")}),
        ("planes", lambda card, parts: parts | {"speed": np.full(36, 3000, np.int16), "weight": np.zeros((8, 48016, 26), np.int16)}),
        ("directions", lambda card, parts: card.update(labels=card["labels"] * 20) or parts),
        ("another", lambda card, parts: card.update(bank_digest="0" * 64) or parts),
    ],
)  # fmt: skip
def test_a_readout_that_would_read_beside_its_arrays_is_refused(tmp_path, problem, change):
    """Kernels check no index: what does not fit never reaches them."""
    card, parts, _ = bundle.read(registry.folder_of("flow36"))
    parts = change(card, parts)
    card["name"] = "hostile"
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / bundle.CARD).write_text(json.dumps(card))
    (folder / bundle.WEIGHTS).write_bytes(safetensors.numpy.save(parts))
    spec = validate({"stages": [{"id": "a", "kind": "optical_flow", "model": "hostile"}]})
    with pytest.raises((ModelError, SpecError), match=problem):
        _ = registry.install(folder), Graph(spec, Sensor(width=64, height=48))
