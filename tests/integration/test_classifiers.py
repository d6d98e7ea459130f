"""Classifiers: trained on labelled recordings in every way there is, calibrated, early, and served."""

import json

import numpy as np
import pytest

import pipeline as polychrony_pipeline
from kernels.networks import neurons
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.models import confidence, cost, registry
from pipeline.models.delta import DeltaNetwork
from pipeline.models.inputs import encoded
from pipeline.models.spiking import Run, dense
from pipeline.packets import EARLY
from pipeline.sensor import Sensor
from pipeline.sources import open_source
from pipeline.spec import preset, validate
from pipeline.training.classifiers import trainer
from pipeline.training.classifiers.trainer import ClassifierTraining, TooFew
from pipeline.training.labelled import NoRecordings
from pipeline.training.motifs.trainer import CannotResume
from pipeline.training.rendering import microsaccades
from tests.integration.test_cli import answer, polychrony

SIDE, LABELS = 12, ("across", "down", "still")


def recording(rng, label, n=400):
    """A line that moves across, or down, or nothing but noise; times from 0 to 80 ms."""
    t = np.sort(rng.integers(0, 80_000, n))
    along = (t * SIDE // 80_000).astype(np.int64)
    free = rng.integers(0, SIDE, n)
    x = along if label == "across" else free
    y = along if label == "down" else rng.integers(0, SIDE, n)
    noise = rng.random(n) < 0.2
    x, y = np.where(noise, rng.integers(0, SIDE, n), x), np.where(noise, rng.integers(0, SIDE, n), y)
    return t, x.astype(np.uint16), y.astype(np.uint16), rng.random(n) < 0.5


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Recordings of three labels as one .npz."""
    rng = np.random.default_rng(0)
    parts, labels = [], []
    for i in range(90):
        label = LABELS[i % 3]
        columns = recording(rng, label)
        columns[1][0], columns[2][0] = SIDE - 1, SIDE - 1  # so that the sensor's size is seen
        parts.append(columns)
        labels.append(i % 3)
    t, x, y, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    path = tmp_path_factory.mktemp("labelled") / "lines.npz"
    offsets = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])])
    np.savez(path, t=t, x=x, y=y, p=p, offsets=offsets, label=np.array(labels))
    return path


SMALL = {
    "step_us": 10_000, "steps": 8, "epochs": 40, "batch": 16, "rate": 0.01,
    "layers": [{"channels": 8, "size": 3, "stride": 2}],
}  # fmt: skip


def trained(archive, folder, **changes):
    config = ClassifierTraining(recordings=str(archive), name="lines", **{**SMALL, **changes})
    return trainer.train(config, folder, lambda share, text: None)


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({}, 0.9),
        ({"method": "tess"}, 0.5),
        ({"backward_steps": 3}, 0.85),
        ({"neuron": {"kind": "relu"}, "most": 4}, 0.75),
        ({"method": "reservoir", "reservoir": {"neurons": 150}}, 0.75),
        ({"method": "stdp"}, 0.5),
    ],
    ids=["sltt", "tess", "sltt-k", "delta", "reservoir", "stdp"],
)
def test_every_way_to_learn_beats_guessing_on_recordings_it_never_saw(archive, tmp_path, changes, least):
    card = trained(archive, tmp_path / "out", **changes)
    assert card.accuracy["class"] >= least
    assert np.array(card.accuracy["confusion"]).sum() == 18
    model = registry.read(tmp_path / "out")
    assert isinstance(model, DeltaNetwork) == ("neuron" in changes)
    assert not list((tmp_path / "out").glob("*checkpoint*"))


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(archive, tmp_path):
    whole = trained(archive, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop_late(share, text):
        if share > 0.7:
            raise Interrupted

    config = ClassifierTraining(recordings=str(archive), name="lines", **SMALL)
    with pytest.raises(Interrupted):
        trainer.train(config, tmp_path / "out", stop_late)
    assert list((tmp_path / "out").glob("*.checkpoint.npz"))
    with pytest.raises(CannotResume):
        trained(archive, tmp_path / "out", seed=9)
    card = trainer.train(config, tmp_path / "out", lambda share, text: None, threads=1)
    assert card == whole
    one, other = (registry.read(tmp_path / name) for name in ("whole", "out"))
    assert one.digest == other.digest


def test_cross_validation_tests_every_recording_by_a_network_that_never_saw_it(archive, tmp_path):
    card = trained(archive, tmp_path / "out", folds=3, tune=({}, {"neuron": {"decay": 0.8}}), epochs=30)
    assert np.array(card.accuracy["confusion"]).sum() == 90
    assert "3-fold" in card.accuracy["what"]
    assert card.confidence["recordings"] == 90
    assert card.accuracy["class"] > 0.85


def test_what_cannot_be_learned_from_is_said(tmp_path):
    with pytest.raises(NoRecordings):
        trained(tmp_path / "nothing.npz", tmp_path / "out")
    np.savez(
        tmp_path / "a.npz",
        t=np.zeros(3),
        x=np.zeros(2),
        y=np.zeros(3),
        p=np.zeros(3),
        offsets=[0, 3],
        label=[0],
    )
    with pytest.raises(NoRecordings, match="do not fit"):
        trained(tmp_path / "a.npz", tmp_path / "out")
    np.savez(
        tmp_path / "b.npz", t=np.zeros(3, int), x=np.zeros(3, int), y=np.zeros(3, int), p=np.zeros(3, int),
        offsets=[0, 1, 2, 3], label=[0, 0, 1],
    )  # fmt: skip
    with pytest.raises(TooFew, match="three recordings"):
        trained(tmp_path / "b.npz", tmp_path / "out")


@pytest.fixture(scope="module")
def lines(archive, tmp_path_factory):
    """The name of a trained model among the user's."""
    folder = tmp_path_factory.mktemp("trained") / "lines"
    trained(archive, folder)
    registry.install(folder)
    yield "lines"
    registry.remove("lines")


def engine(lines, **options):
    stage = {"id": "what", "kind": "spiking_classifier", "model": lines, **options}
    return Engine(Graph(validate({"stages": [stage]}), Sensor(width=SIDE, height=SIDE)))


def decisions(run, columns):
    results = run.feed(columns) + run.end()
    return np.concatenate([result.rows for result in results])


def test_a_recording_gets_one_decision_as_early_as_it_is_sure(lines):
    rng = np.random.default_rng(5)
    right, seen, steps = 0, 0, []
    for i in range(30):
        rows = decisions(
            engine(lines, decide="recording", stop={"confidence": 0.9}), recording(rng, LABELS[i % 3])
        )
        assert len(rows) == 1
        right += LABELS[rows["label"][0]] == LABELS[i % 3]
        assert bool(rows["flags"][0] & EARLY) == (rows["steps"][0] < 8)
        assert rows["t"][0] - rows["from_us"][0] == rows["steps"][0] * 10_000
        steps.append(int(rows["steps"][0]))
        seen += 1
    assert right / seen > 0.85
    assert np.mean(steps) < 7


def test_an_endless_stream_gets_a_decision_a_window_and_starts_anew(lines):
    rng = np.random.default_rng(6)
    parts = [recording(rng, label) for label in ("across", "down", "across", "still")]
    joined = [np.concatenate([part[k] for part in parts]) for k in range(4)]
    joined[0] = np.concatenate([part[0] + 80_000 * i for i, part in enumerate(parts)])
    rows = decisions(engine(lines), tuple(joined))
    assert [LABELS[label] for label in rows["label"]] == ["across", "down", "across", "still"]
    assert rows["t"].tolist() == [80_000, 160_000, 240_000, 320_000]
    early = decisions(engine(lines, stop={"confidence": 0.8}), tuple(joined))
    assert len(early) > 4


def test_what_a_run_costs_is_counted(lines):
    run = engine(lines)
    run.feed(recording(np.random.default_rng(7), "across"))
    run.end()
    spent = run.graph.activity()["what"]
    network = registry.load_network(lines)
    assert spent["steps"] == 8
    assert spent["dense_macs"] == 8 * cost.of_network(network)["dense_macs_a_step"]
    assert 0 < spent["synops"] < spent["dense_macs"]
    assert spent["effective_acs"] == spent["synops"]
    assert 0 < spent["activation_sparsity"] < 1
    assert spent["energy_uj"] == pytest.approx(cost.energy_pj(spent) * 1e-6, abs=1e-6)


def test_synops_are_the_fan_out_of_what_arrived(lines):
    network = registry.load_network(lines)
    run = Run(network)
    spikes = encoded(recording(np.random.default_rng(8), "down"), network.card.encoding)
    sent = run.advance(spikes)
    second = network.card.layers[1]
    arrived = len(sent[network.card.layers[0].name].index)
    assert run.states[second.name].counts[1] == arrived * 3  # each spike reaches every class
    assert dense(sent[network.output], 3).shape == (8, 3)


def test_calibration_makes_confidence_worth_what_it_says():
    rng = np.random.default_rng(9)
    truth = rng.integers(0, 5, 800)
    logits = rng.normal(0, 1, (800, 6, 5))
    logits[np.arange(800), :, truth] += 1.2
    sums = np.cumsum(logits, axis=1) * 3.0  # three times too sure of itself
    told = confidence.calibrated(sums, truth)
    assert 2.0 < told["temperature"] < 5.0
    assert told["calibration_error"] < 0.05
    assert told["accuracy_early"] >= told["accuracy_all_steps"]
    assert told["share_of_steps"] < 1
    shares = [row[2] for row in told["curve"]]
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "motif8"}, "motif8 is a motif_bank, not a spiking network"),
        ({"readout": "spike_count"}, "sends potentials; allowed is potential"),
        ({"model": "nobody"}, "no model is named 'nobody'"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(lines, options, message):
    with pytest.raises(ValueError, match=message):
        engine(**{"lines": lines, **{("lines" if k == "model" else k): v for k, v in options.items()}})
    spec = validate({"stages": [{"id": "what", "kind": "spiking_classifier", "model": lines}]})
    with pytest.raises(ValueError, match="looks at 12x12 pixels"):
        Graph(spec, Sensor(width=40, height=30))


def test_in_a_notebook_it_is_one_call(lines):
    spec = validate({"stages": [{"id": "what", "kind": "spiking_classifier", "model": lines}]})
    answers = polychrony_pipeline.run(spec, recording(np.random.default_rng(3), "down"), (SIDE, SIDE))
    assert LABELS[int(answers["what"]["label"][0])] == "down"


def test_microsaccades_are_drawn_anew_and_do_not_count_themselves_out():
    plan = microsaccades.EyePlan(
        size=32, px_per_mm=7.0, movement_us=(4000, 8000), recording_us=(10_000, 14_000), preset="clean"
    )
    made, labels = microsaccades.recordings(2, 1, plan, seed=3, threads=2)
    again, _ = microsaccades.recordings(2, 1, plan, seed=3)
    assert labels == [f"{a:g}" for a in microsaccades.AMPLITUDES_DEG] * 2
    assert [one.group for one in made] == [0] * 7 + [1] * 7
    for one, other in zip(made, again, strict=True):
        for a, b in zip(one.events, other.events, strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(len(one.events[0]) > 20 for one in made)
    big, small = made[6].events, made[0].events
    assert len(big[0]) != len(small[0])


def test_the_command_line_trains_shows_and_streams(archive, tmp_path):
    own = {"POLYCHRONY_MODELS": str(tmp_path / "own")}
    told = answer(
        "train", "classifier", archive, "--out", tmp_path / "net", "--name", "cli", "--step-us", "10000",
        "--steps", "8", "--epochs", "3", **own,
    )  # fmt: skip
    assert "confusion" in told
    answer("models", "import", tmp_path / "net", **own)
    drawn = tmp_path / "net.png"
    answer("models", "show", "cli", "--plot", drawn, **own)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert "bit budget" in answer("models", "show", "cli", **own)
    bad = polychrony("train", "classifier", archive, "--out", tmp_path / "x", "--method", "magic")
    assert bad.returncode == 2
    described = json.loads(answer("models", "show", "cli", "--json", **own))
    assert described["costs"]["footprint_bytes"] > 0


def test_the_zoo_knows_real_recordings(data_dir):
    """N-MNIST as it comes from the file, whole and early; the network learned from these very recordings."""
    data = trainer.Data(data_dir / "labelled" / "nmnist_train1k.npz")
    network = registry.load_network("nmnist")
    assert network.card.accuracy["class"] >= 0.95
    assert network.card.confidence["share_of_steps"] <= 0.6
    spec = validate(
        {
            "stages": [
                {
                    "id": "digit",
                    "kind": "spiking_classifier",
                    "model": "nmnist",
                    "decide": "recording",
                    "stop": {},
                }
            ]
        }
    )
    some = range(0, len(data.recordings), 10)
    right, looked = 0, []
    for i in some:
        run = Engine(Graph(spec, Sensor(width=34, height=34)))
        row = decisions(run, data.recordings[i].events)[0]
        right += row["label"] == data.truth[i]
        looked.append(int(row["steps"]))
    assert right / len(some) > 0.94
    assert np.mean(looked) < 0.6 * network.card.encoding.steps


def test_decisions_come_out_of_the_real_service(client, data_dir):
    data = trainer.Data(data_dir / "labelled" / "nmnist_train1k.npz")
    right = 0
    for i in (5, 205, 405, 605, 805):
        stream = client.stream("digits", sensor=(34, 34))
        stream.send(*data.recordings[i].events)
        stream.end()
        digit = stream.rows("digit")
        assert len(digit["label"]) == 1
        right += int(digit["label"][0]) == data.truth[i]
        costs = client.http.get(f"/v1/streams/{stream.id}/stats").json()["costs"]["digit"]
        assert costs["synops"] > 0
    assert right >= 4


@pytest.mark.long
def test_recordings_of_one_group_are_learned_from_or_tested_on_together(tmp_path):
    answer(
        "train",
        "eyes",
        tmp_path / "eyes.npz",
        "--eyes",
        10,
        "--per-class",
        1,
        "--preset",
        "clean",
        "--threads",
        2,
    )
    data = trainer.Data(tmp_path / "eyes.npz")
    assert data.labels == ("0.5", "0.75", "1", "1.25", "1.5", "1.75", "2")
    assert len(data.recordings) == 70
    owners = np.array([one.group for one in data.recordings])
    for owner in range(10):
        assert len(set(data.number[owners == owner])) == 1


def test_the_raster_is_what_the_layer_sent_however_the_stream_is_cut(data_dir):
    events = next(iter(open_source(data_dir / "recordings" / "nmnist.bin").batches())).events
    document = preset("digits").model_dump(mode="json")
    document["stages"][0]["stop"] = None
    document["outputs"] = ["digit.spikes"]
    found = []
    for pieces in (1, 7, 60):
        engine = Engine(Graph(validate(document), Sensor(width=34, height=34)))
        results = []
        for part in np.array_split(np.arange(len(events[0])), pieces):
            results += engine.feed(tuple(column[part] for column in events))
        results += engine.end()
        rows = np.concatenate([result.rows for result in results])
        found.append((engine.digests(), len(rows)))
        port = engine.graph.outputs["digit.spikes"]
        assert rows["x"].max() < port.width
        assert (np.diff(rows["t"]) >= 0).all()
    assert found[0] == found[1] == found[2]
    stage = engine.graph._stages["digit"]
    assert found[0][1] == stage._run.states[stage._shown].counts[neurons.SPIKES] > 100
