"""Networks of other frameworks: read as they step, refused by name, written back; Delta networks from ONNX."""

import itertools
import json

import cv2
import h5py
import httpx
import nir
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.models import nir_export, registry
from pipeline.models.bundle import ModelError
from pipeline.models.delta import DeltaNetwork, DeltaRun
from pipeline.models.nir_graph import NODES, read
from pipeline.models.onnx_graph import read as read_onnx
from pipeline.models.profiles import SOURCES, Reading
from pipeline.models.spiking import Run, SpikingNetwork, dense, sparse
from pipeline.training.classifiers import quantisation as training_steps
from tests.integration.test_cli import answer, polychrony
from tests.reference.spiking import convolve

F = np.float32


def write(path, nodes, edges=None, **metadata):
    """A chain of nodes, or the graph that ``edges`` say, as a .nir file."""
    names = list(nodes)
    edges = edges or list(itertools.pairwise(names))
    graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata, type_check=False)
    nir.write(path, graph, compression=None)
    return path


def ends(first, last):
    return nir.Input(input_type={"input": np.array(first)}), nir.Output(
        output_type={"output": np.array(last)}
    )


def network(path, **reading):
    card, tensors = read(path, Reading(**reading), "it")
    return SpikingNetwork.of(card.model_dump(), tensors, "")


def outputs(made, given):
    """[step, neuron] of the last layer, in the order (channel, y, x)."""
    run = Run(made)
    channels, height, width = made.card.layers[-1].shape
    c, h, w = made.card.input
    last = given.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(given), -1)
    sent = dense(run.advance(sparse(np.ascontiguousarray(last)))[made.output], channels * height * width)
    return sent.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(given), -1)


def spikes(rng, steps, inputs, rate=0.2):
    return (rng.random((steps, inputs)) < rate).astype(F)


def lif(n, tau=2e-3, **more):
    values = {"tau": tau, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **more}
    return nir.LIF(**{name: np.full(n, value) for name, value in values.items()})


def step_lif(v, x, decay, gain, leak=0.0, level=1.0, after=0.0):
    """Euler's step of the equation tau dv/dt = v_leak - v + R I, with a hard reset above the threshold."""
    v = v * decay + gain * x + leak * (1 - decay)
    s = v > level
    return np.where(s, after, v), s.astype(F)


def test_a_dense_network_steps_as_its_equations_say(tmp_path):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0.3, 1, (7, 5)).astype(F), rng.normal(0, 0.1, 7).astype(F)
    start, end = ends([5], [7])
    path = write(
        tmp_path / "a.nir",
        {"input": start, "w": nir.Affine(weight, bias), "n": lif(7, v_leak=0.2), "output": end},
    )
    given, v = spikes(rng, 60, 5), np.zeros(7)
    expected = []
    for row in given:
        v, s = step_lif(v, weight @ row + bias, 0.5, 0.5, leak=0.2)
        expected.append(s)
    made = network(path, source="nir", dt=1e-3)
    np.testing.assert_array_equal(outputs(made, given), expected)
    assert np.sum(expected) > 10
    how = made.card.read_as
    assert (how["source"], how["dt"], how["method"], how["reset"], how["threshold"]) == (
        "nir",
        1e-3,
        "euler",
        "hard",
        "gt",
    )
    assert how["stated"] == ["dt", "source"]


def test_a_profile_changes_what_the_same_graph_means(tmp_path):
    rng = np.random.default_rng(1)
    start, end = ends([5], [7])
    path = write(
        tmp_path / "a.nir",
        {"input": start, "w": nir.Linear(rng.normal(0.3, 1, (7, 5)).astype(F)), "n": lif(7), "output": end},
    )
    given = spikes(rng, 80, 5)
    found = {source: outputs(network(path, source=source, dt=1e-3), given) for source in SOURCES}
    assert sum(np.array_equal(found["nir"], other) for other in found.values()) < len(SOURCES) - 1
    exact = outputs(network(path, source="nir", dt=1e-3, method="exact"), given)
    assert not np.array_equal(exact, found["nir"])


def test_nothing_is_guessed(tmp_path):
    start, end = ends([5], [5])
    path = write(tmp_path / "a.nir", {"input": start, "n": lif(5), "output": end})
    with pytest.raises(ModelError, match="source: .* allowed are nir, snntorch, norse, sinabs, spikingjelly"):
        read(path, Reading(), "it")
    with pytest.raises(ModelError, match="dt: the graph holds no time step"):
        read(path, Reading(source="nir"), "it")
    told = write(
        tmp_path / "b.nir",
        {"input": start, "n": lif(5), "output": end},
        source="nir",
        dt=1e-3,
        reset="subtract",
    )
    card, _ = read(told, Reading(threshold="ge"), "it")
    assert card.read_as["reset"] == "subtract"
    assert card.read_as["from_metadata"] == ["dt", "reset", "source"]
    assert card.read_as["stated"] == ["threshold"]


def test_convolutions_pooling_and_flattening_lead_where_they_should(tmp_path):
    rng = np.random.default_rng(2)
    kernel, bias = rng.normal(0.2, 1, (4, 2, 3, 3)).astype(F), rng.normal(0, 0.1, 4).astype(F)
    weight = rng.normal(0, 1, (6, 4 * 3 * 4)).astype(F)
    start, end = ends([2, 6, 8], [6])
    nodes = {
        "input": start,
        "conv": nir.Conv2d((6, 8), kernel, 1, 1, 1, 1, bias),
        "fires": nir.IF(
            r=np.full((4, 6, 8), 1e3), v_threshold=np.ones((4, 6, 8)), v_reset=np.zeros((4, 6, 8))
        ),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten(input_type={"input": np.array([4, 3, 4])}, start_dim=0, end_dim=-1),
        "dense": nir.Linear(weight),
        "output": end,
    }
    made = network(write(tmp_path / "a.nir", nodes), source="nir", dt=1e-3)
    given, v, expected = spikes(rng, 30, 96, 0.1), np.zeros((4, 6, 8)), []
    for row in given:
        v = (
            v
            + convolve(row.reshape(2, 6, 8), kernel, (1, 1), (1, 1), (1, 1), 1, (6, 8))
            + bias[:, None, None]
        )
        s = (v > 1).astype(F)
        v = np.where(s > 0, 0, v)
        pooled = s.reshape(4, 3, 2, 4, 2).mean(axis=(2, 4))
        expected.append(weight @ pooled.ravel())
    np.testing.assert_allclose(outputs(made, given), expected, atol=1e-4)


def test_every_kind_of_node_is_read(tmp_path):
    """One graph with what the others leave out: delays, scales, thresholds, readouts, 1-D, synaptic currents."""
    rng = np.random.default_rng(3)
    n = 6
    cuba = {"tau_mem": 4e-3, "tau_syn": 2e-3, "r": 1.0, "v_leak": 0.0, "w_in": 2.0}
    start, end = ends([2, 10], [3])
    nodes = {
        "input": start,
        "conv": nir.Conv1d(10, rng.normal(0.4, 0.5, (3, 2, 3)).astype(F), 2, 0, 1, 1, np.zeros(3)),
        "cubalif": nir.CubaLIF(
            **{k: np.full((3, 4), v) for k, v in cuba.items()},
            v_threshold=np.full((3, 4), 0.3),
            v_reset=np.zeros((3, 4)),
        ),
        "flat": nir.Flatten(input_type={"input": np.array([3, 4])}, start_dim=0, end_dim=-1),
        "down": nir.Linear(rng.normal(0.3, 0.5, (n, 12)).astype(F)),
        "scale": nir.Scale(np.linspace(0.5, 2, n)),
        "late": nir.Delay(np.array([0, 1, 2, 0, 3, 1]) * 1e-3),
        "step": nir.Threshold(np.full(n, 0.4)),
        "again": nir.Linear(np.eye(n, dtype=F)),
        "cubali": nir.CubaLI(**{k: np.full(n, v) for k, v in cuba.items()}),
        "last": nir.Linear(rng.normal(0, 1, (3, n)).astype(F)),
        "li": nir.LI(tau=np.full(3, 5e-3), r=np.ones(3), v_leak=np.zeros(3)),
        "i": nir.I(r=np.full(3, 1e3)),
        "output": end,
    }
    made = network(write(tmp_path / "a.nir", nodes), source="nir", dt=1e-3)
    found = outputs(made, spikes(rng, 50, 20, 0.4))
    assert np.abs(found[-1]).min() > 0
    used = {type(node).__name__ for node in nodes.values()}
    others = {
        "Affine",
        "Conv2d",
        "AvgPool2d",
        "SumPool2d",
        "IF",
        "LIF",
        "NIRGraph",
    }  # in the other tests here
    assert used | others == set(NODES)
    delay = made.layers["late"].synapses.delay
    assert sorted(delay.tolist()) == [0, 0, 1, 1, 2, 3]


def test_a_cycle_carries_what_was_sent_one_step_before(tmp_path):
    rng = np.random.default_rng(4)
    weight, back = rng.normal(0.4, 1, (5, 4)).astype(F), rng.normal(0, 0.7, (5, 5)).astype(F)
    bias = rng.normal(0.1, 0.1, 5).astype(F)
    inner_start, inner_end = ends([5], [5])
    inner = nir.NIRGraph(
        nodes={"input": inner_start, "lif": lif(5), "w_rec": nir.Affine(back, bias), "output": inner_end},
        edges=[("w_rec", "lif"), ("lif", "output"), ("lif", "w_rec"), ("input", "lif")], type_check=False,
    )  # fmt: skip
    start, end = ends([4], [5])
    path = write(tmp_path / "a.nir", {"input": start, "w": nir.Linear(weight), "nest": inner, "output": end})
    made, given = network(path, source="nir", dt=1e-3), spikes(rng, 60, 4, 0.3)
    v, s, expected = np.zeros(5), np.zeros(5, F), []
    for row in given:
        v, s = step_lif(v, weight @ row + back @ s + bias, 0.5, 0.5)
        expected.append(s)
    np.testing.assert_array_equal(outputs(made, given), expected)


@pytest.mark.parametrize("through", ["one layer", "two layers"])
def test_longer_cycles_run_step_by_step_and_however_they_are_cut(tmp_path, through):
    rng = np.random.default_rng(5)
    forth, back = rng.normal(0.5, 0.6, (6, 4)).astype(F), rng.normal(0.2, 0.6, (4, 6)).astype(F)
    start, end = ends([4], [6])
    nodes = {
        "input": start,
        "a": lif(4, r=4.0),
        "w": nir.Linear(forth),
        "b": lif(6, r=4.0),
        "w2": nir.Linear(back),
        "output": end,
    }
    edges = [("input", "a"), ("a", "w"), ("w", "b"), ("b", "output")]
    if through == "two layers":
        edges += [("b", "w2"), ("w2", "a")]
    else:
        nodes["w3"] = nir.Linear(rng.normal(0, 0.6, (6, 6)).astype(F))
        edges += [("b", "w3"), ("w3", "b")]
        del nodes["w2"]
    made = network(write(tmp_path / "a.nir", nodes, edges), source="nir", dt=1e-3)
    given = spikes(rng, 40, 4, 0.6)
    whole = outputs(made, given)
    run, parts = Run(made), []
    for a, b in ((0, 1), (1, 2), (2, 17), (17, 40)):
        parts.append(dense(run.advance(sparse(given[a:b]))[made.output], 6))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.sum() > 5


def test_a_network_goes_out_as_nir_and_comes_back_alike(tmp_path):
    rng = np.random.default_rng(6)
    start, end = ends([2, 6, 6], [5])
    nodes = {
        "input": start,
        "conv": nir.Conv2d(
            (6, 6), rng.normal(0.3, 1, (4, 2, 3, 3)).astype(F), 1, 1, 1, 1, rng.normal(0, 0.1, 4).astype(F)
        ),
        "lif": lif((4, 6, 6), v_threshold=0.8),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten(input_type={"input": np.array([4, 3, 3])}, start_dim=0, end_dim=-1),
        "dense": nir.Linear(rng.normal(0.1, 0.5, (5, 36)).astype(F)),
        "out": lif(5),
        "output": end,
    }
    made = network(write(tmp_path / "a.nir", nodes), source="norse", reset="subtract", threshold="ge")
    nir_export.write(made, tmp_path / "b.nir")
    back = network(tmp_path / "b.nir")
    given = spikes(rng, 60, 72)
    np.testing.assert_array_equal(outputs(back, given), outputs(made, given))
    assert {
        type(node).__name__ for node in nir.read(tmp_path / "b.nir", type_check=False).nodes.values()
    } >= {"Conv2d", "LIF"}


HOSTILE = [
    ("an unknown node", lambda f: f["node/nodes/n"].__setitem__("type", "Rogue") if f.__delitem__("node/nodes/n/type") is None else None, "node n: Rogue is not understood"),
    ("a link", lambda f: f.__setitem__("away", h5py.ExternalLink("/etc/passwd", "/")), "is a link"),
    ("objects", lambda f: f.create_dataset("o", (2,), h5py.vlen_dtype(np.int32)), "numbers and text are allowed"),
    ("an edge to nowhere", lambda f: (f.__delitem__("node/edges"), f["node"].create_dataset("edges", data=[[b"input", b"nowhere"]], dtype=h5py.string_dtype())), "there is no such node"),
    ("no output", lambda f: f.__delitem__("node/nodes/output"), "there is no such node"),
    ("a missing weight", lambda f: f.__delitem__("node/nodes/w/weight"), "a.nir"),
    ("too few values", lambda f: (f.__delitem__("node/nodes/n/tau"), f["node/nodes/n"].create_dataset("tau", data=np.ones(3))), "3 values for 7 neurons"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
def test_a_graph_that_is_not_understood_is_refused_by_name(tmp_path, change, message):
    start, end = ends([5], [7])
    path = write(
        tmp_path / "a.nir", {"input": start, "w": nir.Linear(np.ones((7, 5), F)), "n": lif(7), "output": end}
    )
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ModelError, match=message):
        SpikingNetwork.of(read(path, Reading(source="nir", dt=1e-3), "it")[0].model_dump(), {}, "")


def test_any_bytes_are_refused(tmp_path):
    for i, data in enumerate((b"", b"\x89HDF\r\n\x1a\n" + bytes(200), b"PK\x03\x04junk", b"\x80\x04pickle")):
        for suffix, reader in (
            (".nir", lambda p: read(p, Reading(source="nir", dt=1.0), "x")),
            (".onnx", lambda p: read_onnx(p, "x")),
        ):
            path = tmp_path / f"{i}{suffix}"
            path.write_bytes(data)
            with pytest.raises(ModelError, match=path.name):
                reader(path)


# -- ONNX -----------------------------------------------------------------------------------------


def onnx_file(path, nodes, arrays, shape, outputs):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(value.astype(F), name) for name, value in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), str(path))
    return path


def a_network(tmp_path, rng):
    """Convolution, normalisation, ReLU, both kinds of pooling and a dense layer, and what it computes."""
    arrays = {
        "w1": rng.normal(0, 0.4, (6, 2, 3, 3)), "b1": rng.normal(0, 0.1, 6), "g": rng.uniform(0.5, 1.5, 6),
        "o": rng.normal(0, 0.1, 6), "m": rng.normal(0, 0.1, 6), "s": rng.uniform(0.5, 1.5, 6),
        "w2": rng.normal(0, 0.3, (8, 3, 3, 3)), "w3": rng.normal(0, 0.4, (5, 8 * 2 * 2)), "b3": rng.normal(0, 0.1, 5),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["a", "g", "o", "m", "s"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["d", "w2"], ["e"], pads=[1, 1, 1, 1], kernel_shape=[3, 3], group=2),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("AveragePool", ["f"], ["h"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["h"], ["i"]),
        helper.make_node("Gemm", ["i", "w3", "b3"], ["y"], transB=1),
    ]
    path = onnx_file(tmp_path / "net.onnx", nodes, arrays, (2, 8, 8), 5)

    def run(image):
        a = convolve(image, arrays["w1"], (1, 1), (1, 1), (1, 1), 1, (8, 8)) + arrays["b1"][:, None, None]
        scale = arrays["g"] / np.sqrt(arrays["s"] + 1e-5)
        a = np.maximum(
            (a - arrays["m"][:, None, None]) * scale[:, None, None] + arrays["o"][:, None, None], 0
        )
        a = a.reshape(6, 4, 2, 4, 2).max(axis=(2, 4))
        a = np.maximum(convolve(a, arrays["w2"], (1, 1), (1, 1), (1, 1), 2, (4, 4)), 0)
        return arrays["w3"] @ a.reshape(8, 2, 2, 2, 2).mean(axis=(2, 4)).ravel() + arrays["b3"]

    return path, run


def slow_frames(rng, n, shape=(2, 8, 8)):
    """Input levels [neuron] in the order (y, x, channel) that change little by little."""
    now, frames = rng.integers(0, 200, shape), []
    for _ in range(n):
        moved = rng.random(shape) < 0.05
        now = np.where(moved, rng.integers(0, 200, shape), now)
        frames.append(np.ascontiguousarray(now.transpose(1, 2, 0)).reshape(-1).astype(F))
    return frames


def test_an_onnx_network_is_computed_by_its_changes(tmp_path):
    rng = np.random.default_rng(7)
    path, reference = a_network(tmp_path, rng)
    card, tensors = read_onnx(path, "net", input_step=0.01)
    frames = slow_frames(rng, 40)
    found, _ = training_steps.floats(card, tensors, frames)
    expected = [reference(frame.reshape(8, 8, 2).transpose(2, 0, 1) * 0.01) for frame in frames]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    chosen = training_steps.calibrate(card, tensors, frames, 0.05, lambda share, text: None)
    network = DeltaNetwork.of(chosen.model_dump(), tensors, "")
    run = DeltaRun(network)
    answers = np.array([run.step(frame) for frame in frames])
    assert (answers.argmax(axis=1) == np.argmax(expected, axis=1)).mean() > 0.85
    assert chosen.calibration["additions_a_frame"] <= chosen.calibration["additions_a_frame_finest"]
    for frame, answer_ in zip(
        frames, answers, strict=True
    ):  # whole numbers: changes give what all of it gives
        np.testing.assert_array_equal(DeltaRun(network).step(frame), answer_)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Sigmoid", ["x"], ["y"], name="squash")], "node squash: Sigmoid is not understood; allowed are Conv"),
        ([helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 0, 1, 1])], "the same on both sides"),
        ([helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")], "auto_pad"),
        ([helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])], "without Relu"),
        ([helper.make_node("Relu", ["x"], ["y"])], "no layer before"),
        ([helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "a"], ["y"])], "adds two activations"),
    ],
)  # fmt: skip
def test_onnx_that_is_not_understood_is_refused_by_name(tmp_path, nodes, message):
    path = onnx_file(tmp_path / "a.onnx", nodes, {"w": np.ones((3, 2, 3, 3))}, (2, 8, 8), 5)
    with pytest.raises(ModelError, match=message):
        read_onnx(path, "x")


def test_weights_in_other_files_are_not_opened(tmp_path):
    path, _ = a_network(tmp_path, np.random.default_rng(0))
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ModelError, match="other files"):
        read_onnx(path, "x")


# -- the command line, and REST -------------------------------------------------------------------


def test_networks_are_imported_shown_and_exported(tmp_path):
    own = {"POLYCHRONY_MODELS": str(tmp_path / "own")}
    start, end = ends([2, 6, 8], [3])
    nodes = {
        "input": start,
        "flat": nir.Flatten(input_type={"input": np.array([2, 6, 8])}, start_dim=0, end_dim=-1),
        "w": nir.Linear(np.random.default_rng(0).normal(0, 1, (3, 96)).astype(F)), "n": lif(3), "output": end,
    }  # fmt: skip
    path = write(tmp_path / "Some Net.nir", nodes)
    refused = polychrony("models", "import", path, **own)
    assert refused.returncode == 1
    assert "allowed are nir, snntorch" in refused.stderr
    answer(
        "models",
        "import",
        path,
        "--source",
        "norse",
        "--sensor",
        "8x6",
        "--step-us",
        "1000",
        "--steps",
        "9",
        **own,
    )
    shown = answer("models", "show", "some-net", **own)
    assert "read as" in shown
    assert "source: norse" in shown
    described = json.loads(answer("models", "show", "some-net", "--json", **own))
    assert described["costs"]["dense_macs_a_step"] == 288
    assert described["encoding"]["step_us"] == 1000
    answer("models", "export", "some-net", tmp_path / "out.nir", **own)
    answer("models", "import", tmp_path / "out.nir", "--name", "again", **own)
    answer("models", "export", "some-net", tmp_path / "out.zip", **own)
    refused = polychrony(
        "models", "import", path, "--source", "norse", "--sensor", "9x6", "--step-us", "1000", **own
    )
    assert refused.returncode == 1
    assert "the network reads 2 x 6 x 8" in refused.stderr


def test_a_delta_network_runs_on_a_video_and_is_calibrated_on_it(tmp_path, video_of):
    own = {"POLYCHRONY_MODELS": str(tmp_path / "own")}
    rng = np.random.default_rng(11)
    arrays = {"w1": rng.normal(0, 0.3, (4, 1, 3, 3)), "w2": rng.normal(0, 0.1, (3, 4 * 24 * 32))}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "w2"], ["y"], transB=1),
    ]
    net = onnx_file(tmp_path / "net.onnx", nodes, arrays, (1, 24, 32), 3)
    picture = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
    video = video_of(tmp_path / "v.mp4", [np.roll(picture, i // 3, axis=1) for i in range(20)])
    answer("models", "import", net, "--step", "0.02", "--input-step", "0.004", **own)
    said = json.loads(answer("models", "run", "net", video, "--json", **own))
    assert len(said["frames"]) == 20
    assert 0 < said["costs"]["operation_sparsity"] < 1
    chosen = json.loads(answer("models", "calibrate", "net", video, "--loss", "0.1", "--json", **own))
    assert chosen["calibration"]["frames"] == 20
    again = json.loads(answer("models", "run", "net", video, "--json", **own))
    labels = [[frame["label"] for frame in one["frames"]] for one in (said, again)]
    assert np.mean(np.array(labels[0]) == np.array(labels[1])) > 0.6
    refused = polychrony("models", "run", "net", net, **own)
    assert refused.returncode == 1
    assert "not a video" in refused.stderr


@pytest.mark.threat(
    "model files that run code when they are opened",
    "safetensors, NIR and ONNX alone, read in a child with limits; pickle, .pt, .joblib: 415, never opened",
)
def test_models_over_rest(client, tmp_path):
    url = str(client.url)
    listed = httpx.get(f"{url}/v1/models").json()
    assert {"motif8", "motif36"} <= {model["name"] for model in listed["models"]}
    start, end = ends([2, 6, 8], [2, 6, 8])
    path = write(tmp_path / "n.nir", {"input": start, "n": lif((2, 6, 8)), "output": end})
    fields = {"name": "over-rest", "source": "nir", "dt": "0.001", "sensor": "8x6", "step_us": "1000"}
    made = httpx.post(
        f"{url}/v1/models", files={"file": ("n.nir", path.read_bytes())}, data=fields, timeout=300
    )
    assert made.status_code == 201, made.text
    assert made.headers["location"] == "/v1/models/over-rest"
    assert httpx.get(f"{url}/v1/models/over-rest").json()["read_as"]["source"] == "nir"
    packed = httpx.get(f"{url}/v1/models/over-rest/export", params={"format": "nir"})
    assert packed.content.startswith(b"\x89HDF")
    refused = httpx.post(f"{url}/v1/models", files={"file": ("n.nir", path.read_bytes())}, timeout=300)
    assert refused.status_code == 422
    assert "source: the same graph" in refused.json()["detail"]
    for name in ("model.pt", "model.pkl", "model.joblib"):
        answer_ = httpx.post(f"{url}/v1/models", files={"file": (name, b"\x80\x04evil")})
        assert answer_.status_code == 415
    assert (
        httpx.post(
            f"{url}/v1/models", files={"file": ("x.nir", b"junk")}, data={"source": "nir"}, timeout=300
        ).status_code
        == 422
    )
    assert httpx.delete(f"{url}/v1/models/motif8").status_code == 409
    assert httpx.delete(f"{url}/v1/models/over-rest").status_code == 204
    assert httpx.get(f"{url}/v1/models/over-rest").status_code == 404


def test_the_wrong_kind_of_model_is_said():
    with pytest.raises(ModelError, match="motif8 is a motif_bank, not a spiking network"):
        registry.load_network("motif8")
    with pytest.raises(ModelError, match="motif8 is a motif_bank, not a Delta network"):
        registry.load_delta("motif8")


def test_models_are_drawn_over_rest(service):
    for name in ("motif8", "nmnist"):
        answer = httpx.get(f"{service.url}/v1/models/{name}/drawing", timeout=300)
        assert answer.headers["content-type"] == "image/png"
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert min(picture.shape[:2]) > 200
    assert httpx.get(f"{service.url}/v1/models/motif8/drawing?of=curves", timeout=300).status_code == 200
    for missing in ("none/drawing", "nmnist/drawing?of=curves"):
        assert httpx.get(f"{service.url}/v1/models/{missing}").status_code == 404


def test_a_dot_in_a_name_is_no_loop(tmp_path):
    """Nested sequences give names with dots; only neurons that hear of themselves reset as recurrent ones do."""
    rng = np.random.default_rng(3)
    start, end = ends([4], [5])
    inner_start, inner_end = ends([5], [5])
    plain = nir.NIRGraph(
        nodes={"input": inner_start, "lif": lif(5), "output": inner_end},
        edges=[("input", "lif"), ("lif", "output")],
        type_check=False,
    )
    loop = nir.NIRGraph(
        nodes={
            "input": inner_start,
            "lif": lif(5),
            "w_rec": nir.Linear(np.eye(5, dtype=F)),
            "output": inner_end,
        },
        edges=[("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        type_check=False,
    )
    for nest, reset in ((plain, "delayed_hard"), (loop, "delayed_clear")):
        weight = rng.normal(0.3, 1, (5, 4)).astype(F)
        path = write(
            tmp_path / "a.nir", {"input": start, "w": nir.Linear(weight), "nest": nest, "output": end}
        )
        card, _ = read(path, Reading(source="snntorch", reset="delayed_hard"), "it")
        assert [layer.neuron.reset for layer in card.layers] == [reset]


def test_a_nested_network_of_snntorch_loses_no_spike(data_dir):
    folder = data_dir / "cases" / "networks"
    if not folder.is_dir():
        pytest.skip(f"no networks at {folder}")
    card, tensors = read(
        folder / "snn_zero_nested.nir", Reading(source="snntorch", reset="delayed_hard"), "it"
    )
    network_ = SpikingNetwork.of(card.model_dump(), tensors, "")
    assert [layer.neuron.reset for layer in card.layers] == ["delayed_hard", "delayed_hard"]
    with np.load(folder / "snn_zero_nested.npz") as saved:
        given, theirs = saved["x"], saved["s2"]
    found = dense(Run(network_).advance(sparse(given))[network_.output], theirs.shape[1])
    np.testing.assert_array_equal(found, theirs)


def test_what_an_exporter_leaves_out_is_said(tmp_path):
    start, end = ends([5], [5])
    path = write(tmp_path / "a.nir", {"input": start, "n": lif(5), "output": end})

    def told(**stated):
        card, _ = read(path, Reading(**stated), "it")
        return " ".join(card.provenance.get("warnings", []))

    assert "tau_syn" in told(source="sinabs")
    assert "min_v_mem" not in told(source="sinabs", floor=-1.0)
    assert "v_reset" in told(source="norse")
    assert told(source="norse", v_reset=-0.2) == ""
    assert "reset_delay" in told(source="snntorch")
    assert told(source="snntorch", reset="residual") == ""
    assert told(source="nir", dt=1e-3) == ""
    card, tensors = read(path, Reading(source="norse", v_reset=-0.2), "it")
    assert card.layers[0].neuron.reset == "hard"
    assert np.all(tensors["n/reset_to"] == F(-0.2))


def test_every_option_of_an_import_is_in_the_command_and_in_rest(client):
    from pipeline.models.import_options import ImportOptions
    from pipeline.models.profiles import Reading

    fields = set(ImportOptions.model_fields)
    assert {"many", "v_reset", "normalised", *Reading.model_fields} <= fields
    body = httpx.get(f"{client.url}/v1/openapi.json").json()["paths"]["/v1/models"]["post"]["requestBody"]
    assert fields <= set(body["content"]["multipart/form-data"]["schema"]["properties"])
    shown = polychrony("models", "import", "--help").stdout
    for name in fields:
        assert f"--{name.replace('_', '-')}" in shown


def test_options_reach_the_network_over_rest(client, tmp_path):
    start, end = ends([5], [5])
    path = write(tmp_path / "net.nir", {"input": start, "n": lif(5), "output": end})
    with path.open("rb") as file:
        answer = httpx.post(
            f"{client.url}/v1/models", files={"file": ("said.nir", file)}, timeout=120,
            data={"source": "sinabs", "many": "false", "normalised": "false", "v_reset": "-0.5", "reset": "hard"},
        )  # fmt: skip
    assert answer.status_code == 201, answer.text
    card = answer.json()
    assert (card["read_as"]["many"], card["read_as"]["normalised"], card["read_as"]["v_reset"]) == (
        False,
        False,
        -0.5,
    )
    assert any("tau_syn" in one for one in card["provenance"]["warnings"])
    assert not any("norm_input" in one for one in card["provenance"]["warnings"])
    wrong = httpx.post(
        f"{client.url}/v1/models", files={"file": ("x.nir", path.read_bytes())}, data={"source": "keras"}
    )
    assert (wrong.status_code, "allowed are nir, snntorch" in wrong.text) == (422, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("add_width", r"\[8\] to \[8, 8, 8\]"), ("add_row", r"\[8, 1\]"), ("add_channel", None)],
)
def test_constants_broadcast_as_the_standard_says(data_dir, name, message):
    path = data_dir / "cases" / "networks" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"no {path}")
    if message:
        with pytest.raises(ModelError, match=f"Add: adds a constant of shape {message}.*one a channel"):
            read_onnx(path, "x")
    else:
        assert [layer.op for layer in read_onnx(path, "x")[0].layers] == ["conv2d", "dense"]


def test_random_graphs_compute_what_onnxruntime_computes():
    pytest.importorskip("onnxruntime")
    from tests.fuzz import onnx_graphs

    said = []
    counts, wrong = onnx_graphs.run(150, seed=2, tell=said.append)
    assert wrong == [], said
    assert counts["equal"] > 30


def test_a_step_that_clips_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYCHRONY_MODELS", str(tmp_path / "models"))
    path, _ = a_network(tmp_path, np.random.default_rng(0))
    fine = registry.install(path, "coarse", {"step": 1e-4, "input_step": 1.0})
    assert any("are clipped; give --step" in one for one in fine.card.provenance["warnings"])
    wide = registry.install(path, "wide", {"step": 1e4, "input_step": 1.0})
    assert "warnings" not in wide.card.provenance
