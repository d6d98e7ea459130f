"""Reaction times, where every time is known."""

import numpy as np
import pytest

from pipeline.engine import Result
from pipeline.rows import layout
from pipeline.stage import Port
from service.streams import reaction
from service.streams.reaction import EDGES_S, Histogram, Reactions, quantile

FIELD = Port("field", 64, 48, tile=16, window_us=10_000)
DECISIONS = Port("decisions", 64, 48)
EVENTS = Port("events", 64, 48)


def answer(name, port, watermark_us, *times, from_us=()):
    rows = np.zeros(len(times), layout(port))
    rows["t"] = times
    if from_us:
        rows["from_us"] = from_us
    return Result(name, 0, rows, watermark_us)


def told(port, name="field"):
    found = Reactions({name: port})
    found.begins(0.0)
    return found, found.outputs[name]


def parts(output):
    return dict(zip(reaction.PARTS, output.parts_s, strict=True))


def test_the_parts_are_those_of_the_definition(monkeypatch):
    found, output = told(FIELD)
    found.processed(((2_000, 100.0), (4_000, 100.0)), 100.0, 100.001)
    assert len(output.open) == 2  # their window is open
    found.published(answer("field", FIELD, 20_000, 10_000), 100.013)
    # A frame of later events, which came 9 ms after and waited for 1 ms, closes it.
    found.processed(((12_000, 100.009),), 100.009, 100.010)
    assert len(output.open) == 1
    found.reads(["field"], 1)
    found.announced()
    assert len(output.answered) == 2  # somebody reads: the answer has not left
    monkeypatch.setattr(reaction.time, "monotonic", lambda: 100.015)
    found.sent("field", 100.013)
    assert sum(output.reaction.counts) == 2
    assert parts(output) == pytest.approx(
        {"wait": 0.008 + 0.006, "hold": 0.001 + 0.003, "queue": 0.002, "compute": 0.006, "outbox": 0.004}
    )
    assert output.reaction.sum_s == pytest.approx(2 * 0.015)


def test_a_send_that_is_heard_of_before_what_it_sent_counts(monkeypatch):
    found, output = told(FIELD)
    found.reads(["field"], 1)
    monkeypatch.setattr(reaction.time, "monotonic", lambda: 5.004)
    found.published(answer("field", FIELD, 20_000, 10_000), 5.003)
    found.sent("field", 5.003)  # the loop was awake, and quicker than the stream's thread
    found.processed(((9_000, 5.0),), 5.0, 5.001)
    monkeypatch.setattr(reaction.time, "monotonic", lambda: 9.0)
    found.announced()
    assert output.reaction.sum_s == pytest.approx(0.004)


def test_batches_that_follow_at_once_are_not_looked_at():
    found, output = told(FIELD)
    for now in (1.0, 1.001, 1.0025):
        found.begins(now)
        found.processed(((5_000, now),), now, now)
    assert [at for _, at in output.open] == [1.0, 1.0025]
    found.begins(2.0)
    found.processed((), 2.0, 2.0)  # a heartbeat before each packet
    found.begins(2.0001)
    found.processed(((6_000, 2.0001),), 2.0001, 2.0001)
    assert output.open[-1] == (6_000, 2.0001)


def test_silence_is_an_answer_and_is_counted():
    found, output = told(FIELD)
    found.published(answer("field", FIELD, 20_000), 5.001)
    found.processed(((2_000, 5.0),), 5.0, 5.0)
    found.announced()
    assert output.silent == 1
    assert sum(output.reaction.counts) == 1


def test_an_event_that_passes_waits_for_nothing():
    found, output = told(EVENTS)
    found.published(answer("field", EVENTS, 7_001, 7_000), 5.003)
    found.processed(((7_000, 5.0), (7_500, 5.0)), 5.0, 5.002)
    found.announced()
    assert len(output.open) == 1  # the watermark has not passed it
    assert parts(output)["wait"] == 0
    assert output.reaction.sum_s == pytest.approx(0.003)


def test_a_decision_covers_what_it_is_about():
    found, output = told(DECISIONS)
    found.processed(((1_000, 1.0), (5_000, 1.004), (30_000, 1.03)), 1.03, 1.03)
    found.published(answer("field", DECISIONS, 0, 20_000, 40_000, from_us=(3_000, 20_000)), 1.051)
    found.processed((), 1.05, 1.05)
    found.announced()
    assert output.silent == 1  # nothing is said of what lies before 3 ms
    assert len(output.open) == 0


def test_a_file_that_is_sent_at_once_does_not_wait_for_its_own_time():
    found, output = told(FIELD)
    found.published(answer("field", FIELD, 20_000, 10_000), 1.002)
    found.processed(((0, 1.0),), 1.001, 1.001)
    found.announced()
    assert parts(output)["wait"] == pytest.approx(0.001)
    assert output.reaction.sum_s == pytest.approx(0.002)


def test_what_is_replayed_after_a_restart_is_no_reaction():
    found, output = told(FIELD)
    found.published(answer("field", FIELD, 20_000, 10_000), 1.0)
    found.forget()
    found.processed(((15_000, 1.0),), 1.0, 1.0)
    assert len(output.open) == 1
    assert not output.answered


def test_what_waits_is_bounded_and_what_is_given_up_is_counted(monkeypatch):
    monkeypatch.setattr(reaction, "_MOST_OPEN", 5)
    found, output = told(FIELD)
    for i in range(10):
        found.processed(((i, 1.0),), 1.0, 1.0)
    assert len(output.open) == 5
    assert output.given_up == 5


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_quantiles_are_within_a_tenth(share):
    rng = np.random.default_rng(3)
    values = rng.lognormal(-4, 1, 20_000)
    histogram = Histogram()
    for value in values.tolist():
        histogram.add(value)
    assert quantile(histogram.counts, share) == pytest.approx(np.quantile(values, share), rel=0.05)
    assert sum(histogram.counts) == len(values)


def test_the_shortest_and_the_longest_have_a_bucket():
    histogram = Histogram()
    for value in (0.0, 1e9):
        histogram.add(value)
    assert histogram.counts[0] == histogram.counts[-1] == 1
    assert quantile(histogram.counts, 0.99) == EDGES_S[-1]


def test_the_recent_are_forgotten_and_all_are_not(monkeypatch):
    now = 100.0
    monkeypatch.setattr(reaction.time, "monotonic", lambda: now)
    histogram = Histogram()
    histogram.add(0.01)
    assert sum(histogram.recent()) == 1
    for now in (111.0, 115.0):  # noqa: B007 - the clock
        assert sum(histogram.recent()) == 1
    now = 122.0
    assert sum(histogram.recent()) == 0
    histogram.add(0.02)
    now = 500.0
    assert sum(histogram.recent()) == 0
    histogram.add(0.03)
    assert sum(histogram.recent()) == 1
    assert sum(histogram.counts) == 3
