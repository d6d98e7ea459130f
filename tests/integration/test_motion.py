"""What the default preset says of motion that is known: scenes that are rendered here, and real recordings."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import safetensors.numpy

import pipeline
from pipeline import packets
from pipeline.analysis import analyze
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.models import bundle, registry
from pipeline.models.bundle import ModelError
from pipeline.packets import APERTURE
from pipeline.sensor import Sensor
from pipeline.sources import InputOptions, open_source
from pipeline.sources.emulator import PRESETS
from pipeline.spec import SpecError, preset, validate
from pipeline.training.rendering import images, random_scenes
from pipeline.training.rendering.scenes import Movement, Scene, film

FIELD = validate({**preset("motion").model_dump(mode="json", exclude_none=True), "outputs": ["field"]})
LEAVES = [images.dead_leaves(320, np.random.default_rng(77))]


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
    scene = random_scenes.scene(kind, speed, 2.0, 0.8, leaves, rng, max(200.0, min(600.0, 60 / speed)))
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


def test_a_bar_says_that_movement_along_it_is_unknown_and_a_texture_does_not():
    flagged = {}
    for kind in ("bar", "texture"):
        parts = []
        for seed in (3, 4, 5):
            rng = np.random.default_rng(seed)
            scene = random_scenes.scene(kind, 0.2, 0.3 + seed, 0.9, LEAVES, rng, 300.0)
            take = film(scene, PRESETS["ideal"])
            rows = field_of((take.t, take.x, take.y, take.p), scene.width, scene.height)
            parts.append((rows[rows["t"] > 100_000]["flags"] & APERTURE) > 0)
        flagged[kind] = np.mean(np.concatenate(parts))
    assert flagged["bar"] >= 0.5
    assert flagged["texture"] <= 0.1


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


def turned_texture(kind, speed, sensor="clean", seed=5):
    leaves = [images.dead_leaves(320, np.random.default_rng(77))]
    scene = random_scenes.scene(kind, speed, 2.0, 1.0, leaves, np.random.default_rng(seed), 300.0)
    return film(scene, PRESETS[sensor])


def test_answers_do_not_depend_on_how_many_threads_work():
    take = turned_texture("camera and mover", 0.4)
    columns, sensor = (take.t, take.x, take.y, take.p), Sensor(width=160, height=120)
    spec = preset("egomotion").model_dump(mode="json", exclude_none=True)
    spec["stages"].append({"id": "motion", "kind": "motif", "model": "motif8", "input": "steady"})
    spec["outputs"] = ["field", "camera", "movers", "motion", "motion.evidence"]
    digests = []
    for threads in (1, 2, 3):
        graph = Graph(validate(spec), sensor, threads=threads)
        engine, half = Engine(graph), len(take.t) // 2
        engine.feed(packets.cut(columns, 0, half))
        # A snapshot goes on with any number of threads.
        later = Engine(Graph(validate({**spec, "threads": 4 - threads}), sensor))
        assert later.graph.fingerprint == graph.fingerprint
        later.restore(engine.snapshot())
        later.feed(packets.cut(columns, half, len(take.t)))
        later.end()
        digests.append(later.digests())
    assert digests[0] == digests[1] == digests[2]
    assert all(later.rows[name] > 0 for name in ("field", "camera", "motion", "motion.evidence"))


def test_outputs_know_what_a_row_stands_for(tmp_path):
    """Films and reports of ``optical_flow`` were drawn with tiles of one pixel."""
    take = turned_texture("texture", 0.4)
    clip = tmp_path / "clip.npz"
    np.savez(clip, t=take.t, x=take.x, y=take.y, p=take.p)
    summary = analyze(
        open_source(clip, InputOptions(sensor="160x120")),
        preset("motion"),
        tmp_path / "a",
        "clip",
        video=True,
    )
    assert "Tiles of 16 px" in (tmp_path / "a" / "report.html").read_text()
    assert set(summary["flags"]["field"]) >= {"warm_up", "unreliable", "aperture"}
    film_ = cv2.VideoCapture(str(tmp_path / "a" / "annotated.webm"))
    frames = []
    while (frame := film_.read()[1]) is not None:
        frames.append(frame)
    scale, green = frames[-1].shape[1] // 160, 0
    for frame in frames[-5:]:  # arrows to the lower left (2 rad) are green, as nothing else in the picture is
        part = frame[: -20 * scale].astype(int)
        green = max(
            green, int(np.sum((part[..., 1] > part[..., 2] + 60) & (part[..., 1] > part[..., 0] + 60)))
        )
    assert green > 40 * 8 * scale, "arrows as long as a pixel are no arrows"


def test_a_wrong_tile_is_refused():
    spec = {
        "stages": [
            {"id": "field", "kind": "optical_flow"},
            {"id": "camera", "kind": "global_motion", "tile": 8},
        ]
    }
    with pytest.raises(SpecError, match="the field's tiles are 16"):
        Graph(validate(spec), Sensor(width=64, height=48))


MOVERS = validate(
    {
        "stages": [{"id": "field", "kind": "optical_flow"}, {"id": "movers", "kind": "movers"}],
        "outputs": ["movers"],
    }
)


def movers_of(take, spec=MOVERS):
    engine = Engine(Graph(spec, Sensor(width=take.scene.width, height=take.scene.height)))
    found = engine.feed((take.t, take.x, take.y, take.p)) + engine.end()
    return np.concatenate([result.rows for result in found])


@pytest.mark.parametrize("speed", [0.05, 0.2, 0.6])
def test_a_mover_is_told_from_a_moving_camera(speed):
    leaves, rng = [images.dead_leaves(320, np.random.default_rng(77))], np.random.default_rng(4)
    duration_ms = min(600.0, 50 / speed)
    camera, own = Movement(speed, 0.2 * speed), Movement(-0.8 * speed, 0.5 * speed)
    square = random_scenes.shape("square", 1.2, own, (160, 120), rng)
    square = replace(square, at=(80 - 66 + 0.4 * speed * duration_ms, 60 - 66 - 0.25 * speed * duration_ms))
    scene = Scene(
        (random_scenes.texture(leaves, 0.8, camera, rng), square), 160, 120, duration_ms, "test", speed
    )
    rows = movers_of(film(scene, PRESETS["clean"]))
    rows = rows[rows["t"] > max(80, 5 / speed) * 1000]
    assert len(np.unique(rows["t"])) >= 0.4 * (duration_ms - max(80, 5 / speed)) / 20
    for row in rows:
        x, y = square.matrix(float(row["t"]) / 1000 - 10) @ np.array(
            [66.0, 66.0, 1.0]
        )  # the middle of its canvas
        assert row["x"] - 24 <= x <= row["x"] + row["width"] + 24
        assert row["y"] - 24 <= y <= row["y"] + row["height"] + 24
    degrees, factor = errors(rows, own.vx, own.vy)
    assert np.median(degrees) <= 20
    assert 0.75 <= np.median(factor) <= 1.3


@pytest.mark.parametrize("kind", ["texture", "rotation", "zoom"])
def test_a_camera_alone_moves_nothing_by_itself(kind):
    leaves = [images.dead_leaves(320, np.random.default_rng(77))]
    scene = random_scenes.scene(kind, 0.2, 2.0, 1.0, leaves, np.random.default_rng(5), 250.0)
    assert len(movers_of(film(scene, PRESETS["clean"]))) == 0


def test_before_a_still_camera_all_that_moves_is_a_mover():
    take = turned_texture("triangle", 0.3)
    still = {
        "stages": [
            {"id": "field", "kind": "optical_flow"},
            {"id": "movers", "kind": "movers", "camera": "still"},
        ]
    }
    rows = movers_of(take, validate(still))
    assert len(rows) > 3
    assert len(np.unique(rows["id"])) <= 2


def flicker(hz, width=160, height=120, seconds=1.0):
    """Every pixel ON and OFF in turn, half a ms apart from each other: a lamp on a wall."""
    rng, n = np.random.default_rng(0), width * height
    pixel, parts = np.arange(n), []
    for k in range(int(seconds * hz)):
        for half in (0, 1):
            t = (k + half / 2) * 1e6 / hz + rng.normal(2000, 500, n)
            parts.append((np.maximum(np.rint(t), 0), pixel % width, pixel // width, np.full(n, half == 0)))
    t, x, y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(t, kind="stable")
    return t[order].astype(np.int64), x[order].astype(np.uint16), y[order].astype(np.uint16), p[order]


@pytest.mark.parametrize("hz", [50, 100])
def test_a_lamp_that_flickers_is_no_movement_and_no_alarm(hz):
    """Tiles that were all as unsure, and all alike, made a sure movement of the view: something neared."""
    engine = Engine(Graph(preset("egomotion"), Sensor(width=160, height=120)))
    results = engine.feed(flicker(hz)) + engine.end()
    rows = {name: np.concatenate([r.rows for r in results if r.output == name]) for name in engine.rows}
    assert len(rows["alarm"]) == 0
    assert len(rows["movers"]) == 0
    for name in ("field", "camera"):
        late = rows[name][rows[name]["t"] > 340_000]
        assert np.percentile(late["confidence"], 90) < 0.35


def alarms_of(take):
    engine = Engine(Graph(preset("egomotion"), Sensor(width=take.scene.width, height=take.scene.height)))
    results = engine.feed((take.t, take.x, take.y, take.p)) + engine.end()
    return np.concatenate([result.rows for result in results if result.output == "alarm"])


@pytest.mark.parametrize("size", [(96, 72), (160, 120)])
@pytest.mark.parametrize(("kind", "speed"), [("texture", 2.0), ("texture", 3.0), ("rotation", 1.0)])
def test_a_pan_or_a_turn_is_no_approach(kind, speed, size):
    """Errors of a few per cent make a zoom of 2 a second of a fast pan."""
    for angle in (0.7, 2.4, 4.0):
        rng = np.random.default_rng(int(10 * angle))
        scene = random_scenes.scene(kind, speed, angle, 1.0, LEAVES, rng, 300.0, size)
        assert len(alarms_of(film(scene, PRESETS["clean"]))) == 0


@pytest.mark.parametrize("speed", [0.15, 0.3])
def test_what_crosses_a_still_view_is_no_approach(speed):
    for angle in (0.3, 2.0, 3.9):
        rng = np.random.default_rng(int(10 * angle))
        own = Movement(speed * math.cos(angle), speed * math.sin(angle))
        scene = random_scenes.scene("textured mover", speed, angle, 1.0, LEAVES, rng, 400.0, (128, 96))
        still = random_scenes.scene("square", speed, angle, 1.0, LEAVES, rng).layers[0]
        alone = replace(scene, layers=(still, replace(scene.layers[1], movement=own)))
        assert len(alarms_of(film(alone, PRESETS["clean"]))) == 0


def test_what_nears_raises_an_alarm():
    scene = random_scenes.scene("approach", 0.1, 0.0, 1.0, LEAVES, np.random.default_rng(3), 400.0)
    rows = alarms_of(film(scene, PRESETS["clean"]))
    assert len(rows) >= 5
    assert np.hypot(rows["x"] - 80.0, rows["y"] - 60.0).max() < 60


@pytest.mark.parametrize("speed", [0.45, 0.5, 0.56, 0.75, 0.85, 1.0])
def test_no_speed_is_told_as_that_of_another_cell(speed):
    """The posterior's cells are a third of an octave apart, and what lay between two was told as the slower one."""
    factors = []
    for angle in (0.4, 2.6, 4.4):
        scene = random_scenes.scene(
            "texture", speed, angle, 1.0, LEAVES, np.random.default_rng(int(10 * angle)), 300.0
        )
        take = film(scene, PRESETS["clean"])
        rows = field_of((take.t, take.x, take.y, take.p), scene.width, scene.height)
        rows = rows[(rows["t"] > 100_000) & (rows["confidence"] >= 0.7)]
        factors.append(np.hypot(rows["vx"], rows["vy"]) / speed)
    assert 0.88 <= np.median(np.concatenate(factors)) <= 1.1
