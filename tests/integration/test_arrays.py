"""What researchers have in a notebook: every form gives the answers of plain columns, or is refused by name."""

import warnings

import numpy as np
import pyarrow as pa
import pytest
from polychrony_client import EventsLost, TimedOut
from polychrony_client.columns import columns_of
from polychrony_client.outbox import Outbox

import pipeline
from pipeline.arrays import ArrayError, events_of
from pipeline.sensor import Sensor

RNG = np.random.default_rng(7)
N = 4000
T = np.cumsum(RNG.integers(1, 40, N)).astype(np.int64)
X = (T // 400 % 60 + RNG.integers(0, 4, N)).astype(np.uint16)
Y, P = RNG.integers(0, 48, N).astype(np.uint16), RNG.random(N) < 0.5
SENSOR = (64, 48)
PLAIN = pipeline.run("motion", (T, X, Y, P), SENSOR)


def structured(order, **kinds):
    kind = {"t": "<i8", "x": "<u2", "y": "<u2", "p": "?"} | kinds
    rows = np.empty(N, [(name, kind[role]) for role, name in order])
    for role, name in order:
        rows[name] = {"t": T, "x": X, "y": Y, "p": P}[role]
    return rows


STACKED = np.stack([X, Y, T, P], axis=1).astype(np.int64)
FORMS = {
    "tuple": ((T, X, Y, P), {}),
    "list of lists": ([T.tolist(), X.tolist(), Y.tolist(), P.tolist()], {}),
    "int32 and int64": ((T.astype(np.int32), X.astype(np.int64), Y.astype(np.int32), P.astype(np.int8)), {}),
    "minus one": ((T, X, Y, np.where(P, 1, -1)), {}),
    "unsigned minus one": ((T, X, Y, np.where(P, 1, 255).astype(np.uint8)), {}),
    "floats for polarity": ((T, X, Y, np.where(P, 1.0, -1.0)), {}),
    "float pixels": ((T, X.astype(float), Y.astype(np.float32), P), {}),
    "mapping": ({"p": P, "timestamp": T, "y": Y, "x": X}, {}),
    "tonic's order": (structured([("x", "x"), ("y", "y"), ("t", "t"), ("p", "p")]), {}),
    "metavision's order": (
        structured([("x", "x"), ("y", "y"), ("p", "p"), ("t", "t")], p="<i2"),
        {},
    ),
    "other names": (
        structured([("p", "polarity"), ("t", "ts"), ("x", "x"), ("y", "y")], t="<f8"),
        {"unit": "us"},
    ),
    "table": (STACKED, {"columns": "xytp"}),
    "float table": (
        np.stack([T / 1e6, X, Y, np.where(P, 1, -1)], axis=1),
        {"columns": "txyp", "unit": "s"},
    ),
    "table with more": (np.concatenate([STACKED, STACKED[:, :1]], axis=1), {"columns": "xytp_"}),
    "float seconds": ((T / 1e6, X, Y, P), {"unit": "s"}),
    "float32 ms": (((T // 1000 * 1000 / 1e3).astype(np.float32), X, Y, P), {"unit": "ms"}),
    "ns": ((T * 1000, X, Y, P), {"unit": "ns"}),
    "Arrow table": (pa.table({"polarity": P, "t": T, "u": X, "v": Y}), {}),
    "unit in the name": ({"x": X, "y": Y, "p": P, "t_ns": T * 1000}, {}),
    "strided": (tuple(np.stack([c, c])[:, ::1].T[:, 0] for c in (T, X, Y, P)), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_answers_of_plain_columns(form):
    events, options = FORMS[form]
    found = pipeline.run("motion", events, SENSOR, **options)
    rounded = (T // 1000 * 1000, X, Y, P)
    expected = pipeline.run("motion", rounded, SENSOR) if form == "float32 ms" else PLAIN
    assert found.digests == expected.digests
    assert len(found["motion"]["t"]) > 5
    assert (found.dropped, found.sorted_falls) == ({}, 0)


@pytest.mark.parametrize("form", FORMS)
def test_the_client_makes_the_same_columns(form):
    events, options = FORMS[form]
    ours = events_of(events, Sensor(width=64, height=48), **options).events
    sent = columns_of(events, **options)
    for a, b in zip(ours, sent, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_labels_and_documents():
    spec = {"stages": [{"id": "motion", "kind": "motif", "model": "motif8", "threshold": {"evidence": 1.0}}]}
    found = pipeline.run(spec, (T, X, Y, P), SENSOR)
    names = found.labels["motion"]
    assert "right 0.45" in names
    assert int(found["motion"]["label"].max()) < len(names)


def test_what_is_not_in_order_is_sorted_and_counted():
    order = RNG.permutation(N)
    shuffled = tuple(column[order] for column in (T, X, Y, P))
    found = pipeline.run("motion", shuffled, SENSOR)
    assert found.digests == PLAIN.digests  # times are distinct
    assert found.sorted_falls == np.count_nonzero(np.diff(T[order]) < 0)


def test_what_no_pixel_sent_is_refused_or_dropped_and_counted():
    with pytest.raises(
        ArrayError, match=r"\d+ of 4000 events lie outside the 40x48 sensor; event \d+ is at t="
    ):
        pipeline.run("motion", (T, X, Y, P), (40, 48))
    found = pipeline.run("motion", (T, X, Y, P), (40, 48), on_fault="drop")
    assert found.dropped == {"out_of_sensor": int(np.count_nonzero(X >= 40))}


BAD = {
    "negative": ((T - 100_000, X, Y, P), {}, r"lie outside 0 .. 2\^53 - 1 us|t must lie in 0"),
    "floats without a unit": ((T / 1e6, X, Y, P), {}, "t is float64: give unit="),
    "not a number": ((np.where(T > 500, np.nan, T), X, Y, P), {"unit": "us"}, "finite times|t must lie in"),
    "negative pixels": ((T, X.astype(int) - 9, Y, P), {}, "x is -|x must lie in"),
    "fractions": ((T, X + 0.25, Y, P), {}, "whole numbers"),
    "polarity 2": ((T, X, Y, P + 1), {}, "0/1, -1/1"),
    "three polarities": ((T, X, Y, np.arange(N) % 3 - 1), {}, "0/1, -1/1"),
    "words": ((T, X, Y, np.where(P, "on", "off")), {}, "not <U3|must be numbers"),
    "lengths": ((T, X[1:], Y, P), {}, "equally long"),
    "no order": (STACKED, {}, "needs columns="),
    "wrong order": (STACKED, {"columns": "xyzt"}, "columns"),
    "no names": ({"a": T, "x": X, "y": Y, "p": P}, {}, "t, x, y, p|no field for t"),
    "two names": ({"time": T, "timestamp": T, "x": X, "y": Y, "p": P}, {}, "several"),
    "mixed up": ((X, Y, T, P), {}, "y is|y must lie in|equally"),
    "masked": ((np.ma.masked_less(T, 500), X, Y, P), {}, r"\.compressed\(\)"),
    "nothing": (3, {}, "not int64"),
    "times of 1970 in ns": (
        (T + 1_700_000_000_000_000_000, X, Y, P),
        {},
        "too large|t must lie in|beyond|2\\^53",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_recording_is_refused_by_name(case):
    events, options, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        events_of(events, Sensor(width=64, height=48), **options)
    with pytest.raises(ValueError, match=words):
        columns_of(events, **options)


def test_a_32_bit_clock_that_begins_again_is_not_sorted():
    wrapping = (T + 2**32 - 40_000).astype(np.uint32)
    unwrapped = events_of((wrapping, X, Y, P), Sensor(width=64, height=48)).events[0]
    np.testing.assert_array_equal(unwrapped, T + 2**32 - 40_000)
    at = int(np.argmin(wrapping))
    with pytest.raises(ValueError, match=f"begins again at event {at}: add"):
        columns_of((wrapping, X, Y, P))  # a batch does not know those before it


def test_columns_of_the_right_types_are_not_copied():
    taken = events_of((T, X, Y, P), Sensor(width=64, height=48)).events
    assert all(np.shares_memory(a, b) for a, b in zip(taken, (T, X, Y, P), strict=True))


def test_a_batch_out_of_order_is_sent_in_one_frame():
    order = RNG.permutation(N)
    out = Outbox()
    drafts = list(out.events(*(column[order] for column in (T, X, Y, P))))
    assert len(drafts) == 1  # one frame an event before, and all but the newest dropped as late
    assert list(Outbox().events(T, X, Y, P)) == drafts
    assert out.sorted_events > 1000


def test_a_stream_says_at_its_end_what_was_dropped(client):
    stream = client.stream("denoise", sensor=(30, 48))
    order = RNG.permutation(N)
    stream.send({"t": T[order] / 1e6, "x": X[order], "y": Y[order], "p": np.where(P, 1, -1)[order]}, unit="s")
    with pytest.warns(EventsLost, match="events out of sensor"):
        final = stream.end()
    lost = int(np.count_nonzero(X >= 30))
    assert (final["dropped"]["out_of_sensor"], final["dropped"]["late"]) == (lost, 0)
    whole = client.stream("denoise", sensor=SENSOR)
    whole.send(STACKED, columns="xytp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(whole.end()["dropped"].values()) == {0}


def test_blocking_calls_end(client):
    stream = client.stream("denoise", sensor=SENSOR)
    stream.send(T, X, Y, P)
    with pytest.raises(TimedOut, match=r"results: nothing came for 0\.3 s"):
        for _ in stream.results("clean", start=False, timeout_s=0.3):
            pass
    stream.end(timeout_s=120)
    job = client.job(client.submit(pipeline.__path__[0] + "/samples/windows.mp4", "denoise").id)
    if job.description["state"] not in {"done"}:
        with pytest.raises(TimedOut, match="not over within the time"):
            job.wait(timeout_s=0.0)
    job.wait(timeout_s=250)
