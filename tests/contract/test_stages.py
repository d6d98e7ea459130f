"""What every stage must keep, whatever it computes; see pipeline/stage.py."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import packets
from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.packets import AFTER_GAP, WARM_UP
from pipeline.sensor import Sensor
from pipeline.spec import validate
from pipeline.stages import KINDS
from tests.contract.examples import EXAMPLES, SENSOR, spec
from tests.property.strategies import cuts, recordings

CASES = [
    pytest.param(stages, id=f"{kind}-{i}") for kind, all_ in EXAMPLES.items() for i, stages in enumerate(all_)
]
every_stage = pytest.mark.parametrize("stages", CASES)
small_recordings = recordings(width=SENSOR[0], height=SENSOR[1], max_events=150, max_step_us=600)
busy_recordings = st.tuples(st.integers(800, 1500), st.integers(10, 25), st.integers(0, 2**32)).map(
    lambda drawn: _busy(*drawn)
)
NEEDS_MANY = {"motif-3", "looming-0", "movers-0", "movers-1", "global_motion-0"}
"""Examples that answer to few events hardly ever."""


def _busy(n, step_us, seed):
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, step_us, n), dtype=np.int64)
    x, y = (rng.integers(0, size, n).astype(np.uint16) for size in SENSOR)
    return t, x, y, rng.random(n) < 0.5


def answered(stages):
    """Recordings that an example answers: others would prove nothing."""
    case = next(one.id for one in CASES if one.values[0] is stages)
    drawn = busy_recordings if case in NEEDS_MANY else small_recordings
    return drawn.filter(lambda columns: len(whole(stages, columns)[0]) > 0)


def engine(stages):
    return Engine(
        Graph(validate(spec(stages)), Sensor(width=SENSOR[0], height=SENSOR[1])), Clock(max_gap_us=100_000)
    )


def rows_of(results):
    parts = [result.rows for result in results]
    return np.concatenate(parts) if parts else np.empty(0)


def whole(stages, columns):
    """The answers when a recording comes in one piece, and their digest."""
    run = engine(stages)
    results = run.feed(columns) + run.end()
    return rows_of(results), run.digests()


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(KINDS)


@every_stage
def test_examples_answer_something(stages):
    rng = np.random.default_rng(1)
    n = 4000
    t = np.cumsum(rng.integers(0, 20, n))
    x, y = (rng.integers(0, size, n).astype(np.uint16) for size in SENSOR)
    rows, _ = whole(stages, (t, x, y, rng.random(n) < 0.5))
    assert len(rows) > 0


@every_stage
@settings(max_examples=25)
@given(data=st.data())
def test_answers_do_not_depend_on_the_cuts(stages, data):
    columns = data.draw(answered(stages))
    expected, digests = whole(stages, columns)
    run, results = engine(stages), []
    for a, b in itertools.pairwise(data.draw(cuts(len(columns[0])))):
        results += run.feed(packets.cut(columns, a, b))
        if a < b and data.draw(st.booleans()):  # what a heartbeat says here is known already
            results += run.heartbeat(int(columns[0][b - 1]))
    results += run.end()
    np.testing.assert_array_equal(rows_of(results), expected)
    assert run.digests() == digests


@every_stage
@settings(max_examples=15)
@given(columns=small_recordings)
def test_input_is_not_changed(stages, columns):
    before = [column.copy() for column in columns]
    whole(stages, columns)
    for column, copy in zip(columns, before, strict=True):
        np.testing.assert_array_equal(column, copy)


@every_stage
def test_packets_without_rows_are_fine(stages):
    run = engine(stages)
    nothing = packets.no_events()
    results = run.feed(nothing) + run.heartbeat(5000) + run.feed(nothing) + run.heartbeat(90_000) + run.end()
    assert len(rows_of(results)) == 0


@every_stage
@settings(max_examples=25)
@given(data=st.data())
def test_a_snapshot_in_mid_stream_changes_nothing(stages, data):
    columns = data.draw(answered(stages))
    expected, digests = whole(stages, columns)
    at = data.draw(st.integers(0, len(columns[0])))
    first, second = engine(stages), engine(stages)
    results = first.feed(packets.cut(columns, 0, at))
    state = first.snapshot()
    first.feed(packets.cut(columns, at, len(columns[0])))  # goes on without harm to the snapshot
    first.end()
    second.restore(state)
    results += second.feed(packets.cut(columns, at, len(columns[0]))) + second.end()
    np.testing.assert_array_equal(rows_of(results), expected)
    assert second.digests() == digests
    assert (second.events, second.rows) == (len(columns[0]), first.rows)


@every_stage
@settings(max_examples=10)
@given(data=st.data())
def test_a_fresh_object_knows_nothing_of_the_last_recording(stages, data):
    one, other = data.draw(answered(stages)), data.draw(answered(stages))
    expected, _ = whole(stages, other)
    whole(stages, one)
    np.testing.assert_array_equal(whole(stages, other)[0], expected)


@every_stage
@settings(max_examples=25)
@given(data=st.data())
def test_a_gap_closes_what_is_open_and_forgets_what_was(stages, data):
    """What comes after a gap is what would come from a new start, but for a flag that says so."""
    columns, later = data.draw(answered(stages)), data.draw(answered(stages))
    shifted = (later[0] + int(columns[0][-1]) + 200_000, *later[1:])
    before, _ = whole(stages, columns)
    after, _ = whole(stages, shifted)
    both = packets.join([columns, shifted])
    run, results = engine(stages), []
    for a, b in itertools.pairwise(data.draw(cuts(len(both[0])))):
        results += run.feed(packets.cut(both, a, b))
    results += run.end()
    found = rows_of(results)
    assert len(found) == len(before) + len(after)
    np.testing.assert_array_equal(found[: len(before)], before)
    behind = found[len(before) :].copy()
    if "flags" in (behind.dtype.names or ()):
        early = (after["flags"] & WARM_UP) > 0
        np.testing.assert_array_equal((behind["flags"] & AFTER_GAP) > 0, early)
        behind["flags"] &= ~behind["flags"].dtype.type(AFTER_GAP)
    np.testing.assert_array_equal(behind, after)
    assert [gap for result in results for gap in result.gaps] != []


@every_stage
@settings(max_examples=15)
@given(data=st.data())
def test_rows_are_complete_before_the_watermark(stages, data):
    columns = data.draw(answered(stages))
    run, watermark = engine(stages), None
    for a, b in itertools.pairwise(data.draw(cuts(len(columns[0])))):
        for result in run.feed(packets.cut(columns, a, b)):
            if watermark is not None and len(result.rows):
                assert int(result.rows["t"].min()) >= watermark
            watermark = result.watermark_us
