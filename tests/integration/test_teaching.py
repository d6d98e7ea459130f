"""A bank that learns on a stream: bounded, exact however the stream is cut, and there is a way back."""

import itertools

import numpy as np
import pytest

from pipeline import packets
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.models import registry
from pipeline.sensor import Sensor
from pipeline.spec import SpecError, validate
from pipeline.stages.teaching import Pupil, Teaching

SENSOR = Sensor(width=48, height=40)
LABEL = "down 0.45"


def spec(**learn):
    return validate(
        {
            "stages": [
                {
                    "id": "motion",
                    "kind": "motif",
                    "model": "motif8",
                    "threshold": {"evidence": -1e6},
                    "learn": learn,
                }
            ],
            "outputs": ["motion", "motion.evidence"],
        }
    )


@pytest.fixture(scope="module")
def recording():
    """Dots that move up, half a pixel a ms."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, [48, 40], (60, 2))
    ms = np.arange(300)
    t = np.repeat(ms * 1000, 60)
    x, y = np.tile(starts[:, 0], 300), (starts[:, 1][None] - (ms[:, None] * 0.5)).astype(int) % 40
    return t.astype(np.int64), x.astype(np.uint16), y.ravel().astype(np.uint16), rng.random(len(t)) < 0.5


def run(recording, cuts, label_at, **learn):
    engine, results = Engine(Graph(spec(**learn), SENSOR)), []
    for a, b in itertools.pairwise(cuts):
        results += engine.feed(packets.cut(recording, a, b))
        if b == label_at:
            assert engine.label("motion", LABEL, 50_000, 140_000)
    results += engine.end()
    rows = np.concatenate([r.rows for r in results if r.output == "motion.evidence"])
    return rows, engine.digests()


def test_a_label_teaches_the_bins_that_close_later_and_cuts_change_nothing(recording):
    n, at = len(recording[0]), 60 * 150
    names = [label.name for label in registry.load("motif8").card.labels]
    untaught, _ = run(recording, [0, n], None)
    taught, digests = run(recording, [0, at, n], at)
    gain = (taught["evidence"] - untaught["evidence"])[:, names.index(LABEL)]
    closed = taught["t"] < 149_000
    assert (gain[closed] == 0).all()
    assert gain[taught["t"] > 152_000].mean() > 0.1
    rng = np.random.default_rng(1)
    for _ in range(3):
        cuts = np.unique(np.concatenate([[0, at, n], rng.integers(0, n, 12)]))
        assert run(recording, cuts.tolist(), at)[1] == digests


def test_a_snapshot_holds_what_was_learned(recording):
    n, at = len(recording[0]), 60 * 150
    _, digests = run(recording, [0, at, n], at)
    first, second = (Engine(Graph(spec(), SENSOR)) for _ in range(2))
    first.feed(packets.cut(recording, 0, at))
    first.label("motion", LABEL, 50_000, 140_000)
    second.graph.restore(first.graph.snapshot())
    second.clock.restore(first.clock.snapshot())
    last = second.feed(packets.cut(recording, at, n)) + second.end()
    rows = np.concatenate([r.rows for r in last if r.output == "motion.evidence"])
    whole, _ = run(recording, [0, at, n], at)
    np.testing.assert_array_equal(rows, whole[len(whole) - len(rows) :])
    assert digests


def test_no_label_changes_a_weight_by_more_than_it_may_and_there_is_a_way_back(recording):
    bank = registry.load("motif8")
    pupil = Pupil(Teaching(rate=100, largest_step=0.02), bank, 48, 40)
    pupil.remember(recording)
    before = bank.weight.copy()
    assert pupil.teach(LABEL, 100_000, 200_000)
    change = np.abs(pupil.snapshot()["weight"] - before).max() * bank.card.scale
    assert 0 < change <= 0.02 + bank.card.scale
    np.testing.assert_array_equal(bank.weight, before)  # streams share it
    assert pupil.teach(None, 0, 0)
    assert "weight" not in pupil.snapshot()
    assert not pupil.teach(None, 0, 0)


@pytest.mark.parametrize(("label", "span"), [("sideways", (100_000, 200_000)), (LABEL, (900_000, 950_000))])
def test_a_label_that_cannot_teach_is_counted(recording, label, span):
    engine = Engine(Graph(spec(), SENSOR))
    engine.feed(recording)
    assert not engine.label("motion", label, *span)
    assert not engine.label("nothing", LABEL, *span)
    assert (engine.labels_learned, engine.labels_unused) == (0, 2)


def test_a_bank_on_addresses_does_not_learn_on_streams():
    import tests.contract.examples  # noqa: F401 - makes the bank

    document = {"stages": [{"id": "a", "kind": "motif", "model": "columns", "learn": {}}]}
    with pytest.raises(SpecError, match=r"stages\[0\]\.learn"):
        Graph(validate(document), Sensor(width=40, height=32))


def test_a_client_teaches_a_stream(client, recording):
    stages = [
        {"id": "motion", "kind": "motif", "model": "motif8", "threshold": {"evidence": -1e6}, "learn": {}}
    ]
    stream = client.stream({"stages": stages}, sensor=(48, 40))
    at = 60 * 150
    stream.send(*(c[:at] for c in recording))
    stream.label("motion", LABEL, 50_000, 140_000)
    stream.label("motion", "sideways", 50_000, 140_000)
    stream.send(*(c[at:] for c in recording))
    final = stream.end()
    engine = Engine(Graph(validate({"stages": stages}), SENSOR))
    engine.feed(packets.cut(recording, 0, at))
    assert engine.label("motion", LABEL, 50_000, 140_000)
    engine.feed(packets.cut(recording, at, len(recording[0])))
    engine.end()
    assert final["digests"] == engine.digests()
    stats = client.request("GET", f"/v1/streams/{stream.id}/stats").json()
    assert (stats["labels_learned"], stats["repaired"]["labels_unused"]) == (1, 1)
