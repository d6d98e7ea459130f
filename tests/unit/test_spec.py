import os

import pytest

from pipeline import library
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import SpecError, load, parse, preset, presets, resolve, validate, written

CLEAN = {"id": "clean", "kind": "background_activity"}
MOTION = {"id": "motion", "kind": "motif", "model": "motif8"}

WRONG = [
    ({}, "stages", "field required"),
    ({"stages": []}, "stages", "at least 1 item"),
    ({"stages": [{"id": "a", "kind": "motiv"}]}, "stages[0].kind", "'motiv' is no stage; allowed are crop, downsample"),
    ({"stages": [{"id": "a"}]}, "stages[0].kind", "missing; allowed are crop"),
    ({"stages": [{**CLEAN, "windows_us": 5}]}, "stages[0].windows_us", "unknown key; allowed are id, input, kind, window_us"),
    ({"stages": [CLEAN], "output": ["clean"]}, "output", "unknown key; allowed are version, sensor, stages, outputs"),
    ({"stages": [CLEAN], "sensor": {"w": 3, "width": 3, "height": 3}}, "sensor.w", "unknown key; allowed are width, height"),
    ({"stages": [{**CLEAN, "window_us": -1}]}, "stages[0].window_us", "greater than or equal to 0"),
    ({"stages": [{**CLEAN, "id": "Clean!"}]}, "stages[0].id", "allowed are lower-case letters, digits and _"),
    ({"stages": [CLEAN, CLEAN]}, "stages[1].id", "'clean' is taken by stages[0]"),
    ({"stages": [{**CLEAN, "input": "other"}]}, "stages[0].input", "no stage is named 'other'; allowed are source, clean"),
    ({"stages": [{**CLEAN, "input": "clean"}]}, "stages[0].input", "a cycle"),
    ({"stages": [MOTION, {**CLEAN, "input": "motion"}]}, "stages[1].input", "sends detections, background_activity reads events"),
    ({"stages": [MOTION, {"id": "f", "kind": "motion_field"}]}, "stages[1].input", "allowed are motion.evidence"),
    ({"stages": [MOTION], "outputs": ["motion.scores"]}, "outputs[0]", "no port 'scores'; allowed are motion, evidence"),
    ({"stages": [CLEAN], "outputs": ["clean", "clean"]}, "outputs[1]", "named twice"),
    ({"stages": [{**MOTION, "model": "motif9000"}]}, "stages[0].model", "no model is named 'motif9000': allowed are flow36, microsaccade, motif36, motif8, nmnist"),
    ({"stages": [{"id": "c", "kind": "crop", "x": 60, "y": 0, "width": 10, "height": 10}]}, "stages[0].width", "exceeds the sensor's 64"),
    ({"stages": [{"id": "c", "kind": "crop", "x": 0, "y": 0, "width": 8, "height": 8}, MOTION]}, "stages[1].model", "looks at 13x13 pixels"),
    ({"stages": [CLEAN], "sensor": {"width": 10, "height": 10}}, "sensor", "says 10x10, but the source is 64x48"),
    ({"version": 2, "stages": [CLEAN]}, "version", "should be 1"),
    ([], "", "must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path", "problem"), WRONG)
def test_what_is_wrong_is_named_with_its_path_and_what_is_allowed(document, path, problem):
    with pytest.raises(SpecError) as caught:
        Graph(validate(document), Sensor(width=64, height=48))
    assert caught.value.path == path
    assert problem.lower() in caught.value.problem.lower()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stages: [", "not YAML"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("[" * 30_000, "not YAML"),
        ("x" * 70_000, "longer than"),
    ],
)
def test_text_that_is_no_pipeline_is_refused(text, problem):
    with pytest.raises(SpecError, match=problem):
        parse(text)


def test_presets_build_and_their_fingerprints_differ():
    sensors = {"digits": Sensor(width=34, height=34)}  # what its network looks at
    prints = {
        Graph(load(name), sensors.get(name, Sensor(width=64, height=48))).fingerprint for name in presets()
    }
    assert len(prints) == len(presets()) >= 3


def test_outputs_default_to_the_leaves_and_only_what_is_read_is_built():
    graph = Graph(
        validate({"stages": [CLEAN, MOTION, {**CLEAN, "id": "other", "input": "source"}]}),
        Sensor(width=64, height=48),
    )
    assert list(graph.outputs) == ["motion", "other"]
    graph = Graph(validate({"stages": [CLEAN, MOTION], "outputs": ["clean"]}), Sensor(width=64, height=48))
    assert list(graph.snapshot()) == ["clean"]


def test_a_name_that_is_neither_preset_nor_file_is_refused(tmp_path):
    with pytest.raises(
        SpecError,
        match=r"neither a file nor the name of a pipeline \(denoise, digits, egomotion, motion, motion36, view\)",
    ):
        load(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"stages": [{"id": f"s{i}", "kind": "refractory"} for i in range(65)]},
            "stages: at most 64 are allowed",
        ),
        ({"stages": {"a"}}, r"stages\[0\]"),
        ({"stages": "crop"}, "stages: "),
        ({"stages": 3}, "stages: "),
        ({"version": 2, "stages": [{"id": "a", "kind": "nothing"}]}, "version: "),
        ({"sensor": {"width": 0, "height": 1}, "stages": [{"id": "a", "kind": "nothing"}]}, "sensor.width: "),
        (
            {"stages": [{"id": "a", "kind": "nothing"}], "outputs": 3},
            r"stages\[0\].kind: 'nothing' is no stage",
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_said(document, said):
    with pytest.raises(SpecError, match=f"^pipeline: {said}"):
        validate(document)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A pipeline of the user's with two versions, of which the second is active; its folder."""
    monkeypatch.setenv("POLYCHRONY_PIPELINES", str(tmp_path / "pipelines"))
    for name in ("denoise", "motion"):
        library.put("mine", written(preset(name)))
    return tmp_path / "pipelines" / "mine"


def test_every_way_to_name_a_pipeline_finds_the_same_one(own):
    for version, name in ((2, "motion"), (1, "denoise")):
        library.activate("mine", version)
        assert preset("mine") == load("mine") == resolve("mine") == preset(name)
        assert resolve(preset(name).model_dump(mode="json")) == preset("mine", version) == preset(name)


@pytest.mark.parametrize("left", [b"", b"\0\0", b"\xff\xfe", b"two", None])
def test_a_name_whose_active_version_was_not_written_down_stands_for_the_newest(own, left):
    (own / "active").unlink()
    if left is None:
        (own / "active").mkdir()
    else:
        (own / "active").write_bytes(left)
    assert library.versions("mine") == ([1, 2], 2)
    assert preset("mine") == load("mine") == resolve("mine") == preset("motion")


@pytest.mark.parametrize("left", [None, b"\xff\xfe", b"stages: ["])
def test_a_version_that_is_lost_or_damaged_is_one_line(own, left):
    if left is None:
        (own / "2.yaml").unlink()
    else:
        (own / "2.yaml").write_bytes(left)
    for ask in (preset, load, resolve):
        with pytest.raises(SpecError) as told:
            ask("mine")
        assert "\n" not in str(told.value)
    assert preset("mine", 1) == preset("denoise")


@pytest.mark.parametrize("written", ["640x480", [640, 480], (640, 480), {"width": 640, "height": 480}])
def test_a_sensor_can_be_written_in_three_ways(written):
    assert validate({"sensor": written, "stages": [CLEAN]}).sensor == Sensor(width=640, height=480)


@pytest.mark.parametrize(
    ("written", "path", "said"),
    [
        ("640 x 480", "sensor", "is no size such as 640x480"),
        ("٣x٤", "sensor", "is no size such as 640x480"),
        ("0x480", "sensor", "is no size such as 640x480"),
        ("640x40000", "sensor", "is no size such as 640x480"),
        ([640], "sensor", "two numbers are needed, [width, height], not 1"),
        ([640, 480, 2], "sensor", "two numbers are needed"),
        ([640, 0], "sensor.height", "greater than or equal to 1"),
        ([640, 48.5], "sensor.height", "valid integer"),
        (640, "sensor", "valid dictionary"),
    ],
)
def test_a_sensor_that_is_none_is_said_to_be(written, path, said):
    with pytest.raises(SpecError) as told:
        validate({"sensor": written, "stages": [CLEAN]})
    assert told.value.path == path
    assert said in told.value.problem
    assert "alue error" not in told.value.problem


def test_no_file_in_a_pipeline_s_folder_holds_anything_up(own):
    """A FIFO would be waited for without end; some digits are no numbers."""
    (own / "²").with_suffix(".yaml").write_text("stages: []")
    os.mkfifo(own / "3.yaml")
    (own / "active").unlink()
    os.mkfifo(own / "active")
    assert library.versions("mine") == ([1, 2, 3], 3)
    with pytest.raises(SpecError, match="version 3 of mine cannot be read"):
        preset("mine")
    assert preset("mine", 2) == preset("motion")
    assert library.put("mine", written(preset("view"))) == 4
    assert preset("mine") == preset("view")


def test_what_is_in_the_way_of_a_pipeline_is_got_around(own, tmp_path):
    (own / "active").unlink()
    (own / "active").mkdir()
    (own / "3.yaml").symlink_to("nowhere")
    library.activate("mine", 1)
    assert preset("mine") == preset("denoise")
    (own.parent / "other\n").mkdir()
    (own.parent / "other\n" / "active").write_text("1")
    (own.parent / "linked").symlink_to(own)
    assert library.names() == ["linked", "mine"]
    library.remove("linked")
    assert library.names() == ["mine"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sensor: 2020-99-99", "month must be in 1..12"),
        ("threads: " + "9" * 5000, "Exceeds the limit"),
        ("sensor: !!int hello", "invalid literal"),
        ("sensor: !!bool hello", "hello"),
        ("sensor: !!float x", "could not convert"),
        ("a\0b", "special characters are not allowed"),
        ("[" * 100_000, "too deep"),
        ("a: &x [*x]", "aliases are not allowed"),
    ],
)
def test_text_that_is_no_yaml_is_said_to_be_in_one_line(text, said):
    with pytest.raises(SpecError, match="not YAML|longer than") as told:
        parse(text)
    assert said in str(told.value) or "longer than" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize(
    "written", [[True, True], {"width": True, "height": 4}, ["640", "480"], "9" * 100_000 + "x1"]
)
def test_what_is_no_number_is_no_width_and_messages_are_short(written):
    with pytest.raises(SpecError) as told:
        validate({"sensor": written, "stages": [CLEAN]})
    assert len(str(told.value)) < 200
