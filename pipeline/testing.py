"""What every stage must keep, whatever it computes, as tests: for ours, and for those of plug-ins.

    from pipeline.testing import stage_contract

    TestPolarity = stage_contract({"polarity": [[{"kind": "polarity", "keep": "off"}]]})

For each kind a list of examples, each a list of stages of which the last one answers. pytest then cuts its input
anywhere, sends it nothing, snapshots it in mid-stream, puts gaps into it, and demands the same rows each time; see
:mod:`pipeline.stage` for the contract. Needs pytest and hypothesis (extra ``testing``).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import packets
from pipeline.clock import Clock
from pipeline.engine import Engine, Result
from pipeline.graph import Graph
from pipeline.packets import AFTER_GAP, WARM_UP, Events
from pipeline.sensor import Sensor
from pipeline.spec import validate

Stages = list[dict[str, Any]]
_SENSOR = (40, 32)
_GAP_US = 100_000
"""The clock sees a gap where nothing comes for so long."""


@st.composite
def recordings(
    draw: st.DrawFn, width: int = 16, height: int = 12, max_events: int = 200, max_step_us: int = 1500,
    start_us: st.SearchStrategy[int] | None = None,
) -> Events:  # fmt: skip
    """Columns (t, x, y, p) of a sorted recording on a small sensor, dense enough for events to meet."""
    n = draw(st.integers(0, max_events))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = rng.integers(0, draw(st.integers(1, max_step_us)), n)
    t = (0 if start_us is None else draw(start_us)) + np.cumsum(steps, dtype=np.int64)
    x = rng.integers(0, width, n).astype(np.uint16)
    y = rng.integers(0, height, n).astype(np.uint16)
    return t, x, y, rng.random(n) < 0.5


def cuts(n: int, max_cuts: int = 6) -> st.SearchStrategy[list[int]]:
    """Places at which a stream of ``n`` events is cut into batches, empty ones included."""
    return st.lists(st.integers(0, n), max_size=max_cuts).map(lambda places: [0, *sorted(places), n])


def busy(n: int, step_us: int, seed: int, sensor: tuple[int, int] = _SENSOR) -> Events:
    """Events all over the sensor, ``step_us`` / 2 apart in the mean."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, step_us, n), dtype=np.int64)
    x, y = (rng.integers(0, size, n).astype(np.uint16) for size in sensor)
    return t, x, y, rng.random(n) < 0.5


def spec(stages: Stages) -> dict[str, Any]:
    """An example as a pipeline whose one output is its last stage."""
    named = [{"id": f"stage{i}", **stage} for i, stage in enumerate(stages)]
    return {"stages": named, "outputs": [named[-1]["id"]]}


def engine(stages: Stages, sensor: tuple[int, int] = _SENSOR) -> Engine:
    """A fresh engine of an example."""
    grid = Sensor(width=sensor[0], height=sensor[1])
    return Engine(Graph(validate(spec(stages)), grid), Clock(max_gap_us=_GAP_US))


def rows_of(results: Sequence[Result]) -> NDArray[Any]:
    """Their rows, one after the other."""
    parts = [result.rows for result in results]
    return np.concatenate(parts) if parts else np.empty(0)


def whole(
    stages: Stages, columns: Events, sensor: tuple[int, int] = _SENSOR
) -> tuple[NDArray[Any], dict[str, str]]:
    """The answers when a recording comes in one piece, and their digest."""
    run = engine(stages, sensor)
    results = run.feed(columns) + run.end()
    return rows_of(results), run.digests()


def _demand(holds: bool, otherwise: str) -> None:
    """Not ``assert``, which Python leaves out under -O: a contract that cannot fail would be none."""
    if not holds:
        raise AssertionError(otherwise)


def stage_contract(
    examples: Mapping[str, Sequence[Stages]],
    sensor: tuple[int, int] = _SENSOR,
    needs_many: Collection[str] = (),
) -> type:
    """A class of tests for pytest to collect.

    Args:
        examples: for each kind, lists of stages, of which the last is of this kind.
        sensor: width and height, pixels.
        needs_many: examples, as ``kind-number``, that few events hardly ever get an answer from.
    """
    cases = [
        pytest.param(stages, id=f"{kind}-{i}")
        for kind, of_kind in examples.items() for i, stages in enumerate(of_kind)
    ]  # fmt: skip
    every = pytest.mark.parametrize("stages", cases)
    names = {id(case.values[0]): case.id for case in cases}
    few = recordings(width=sensor[0], height=sensor[1], max_events=150, max_step_us=600)
    many = st.builds(
        busy, st.integers(800, 1500), st.integers(10, 25), st.integers(0, 2**32), st.just(sensor)
    )

    def answered(stages: Stages) -> st.SearchStrategy[Events]:
        """Recordings that an example answers: others would prove nothing."""
        drawn = many if names[id(stages)] in needs_many else few
        return drawn.filter(lambda columns: len(whole(stages, columns, sensor)[0]) > 0)

    def in_pieces(
        run: Engine, columns: Events, data: st.DataObject, heartbeats: bool = False
    ) -> list[Result]:
        results: list[Result] = []
        for a, b in itertools.pairwise(data.draw(cuts(len(columns[0])))):
            results += run.feed(packets.cut(columns, a, b))
            if heartbeats and a < b and data.draw(st.booleans()):  # what it says here is known already
                results += run.heartbeat(int(columns[0][b - 1]))
        return results + run.end()

    class Contract:
        """The same rows, however a stream comes."""

        @every
        def test_examples_answer_something(self, stages: Stages) -> None:
            rows, _ = whole(stages, busy(4000, 20, 1, sensor), sensor)
            _demand(len(rows) > 0, "the example gives no rows")

        @every
        @settings(deadline=None, max_examples=25)
        @given(data=st.data())
        def test_answers_do_not_depend_on_the_cuts(self, stages: Stages, data: st.DataObject) -> None:
            columns = data.draw(answered(stages))
            expected, digests = whole(stages, columns, sensor)
            run = engine(stages, sensor)
            np.testing.assert_array_equal(rows_of(in_pieces(run, columns, data, heartbeats=True)), expected)
            _demand(run.digests() == digests, "the digests depend on the cuts")

        @every
        @settings(deadline=None, max_examples=15)
        @given(columns=few)
        def test_input_is_not_changed(self, stages: Stages, columns: Events) -> None:
            before = [column.copy() for column in columns]
            whole(stages, columns, sensor)
            for column, copy in zip(columns, before, strict=True):
                np.testing.assert_array_equal(column, copy)

        @every
        def test_packets_without_rows_are_fine(self, stages: Stages) -> None:
            run, nothing = engine(stages, sensor), packets.no_events()
            results = run.feed(nothing) + run.heartbeat(5000) + run.feed(nothing) + run.heartbeat(90_000)
            _demand(len(rows_of(results + run.end())) == 0, "there are rows without events")

        @every
        @settings(deadline=None, max_examples=25)
        @given(data=st.data())
        def test_a_snapshot_in_mid_stream_changes_nothing(self, stages: Stages, data: st.DataObject) -> None:
            columns = data.draw(answered(stages))
            expected, digests = whole(stages, columns, sensor)
            at = data.draw(st.integers(0, len(columns[0])))
            first, second = engine(stages, sensor), engine(stages, sensor)
            results = first.feed(packets.cut(columns, 0, at))
            state = first.snapshot()
            first.feed(packets.cut(columns, at, len(columns[0])))  # goes on without harm to the snapshot
            first.end()
            second.restore(state)
            results += second.feed(packets.cut(columns, at, len(columns[0]))) + second.end()
            np.testing.assert_array_equal(rows_of(results), expected)
            _demand(second.digests() == digests, "the digests depend on the snapshot")
            _demand(
                (second.events, second.rows) == (len(columns[0]), first.rows), "counts depend on the snapshot"
            )

        @every
        @settings(deadline=None, max_examples=10)
        @given(data=st.data())
        def test_a_fresh_object_knows_nothing_of_the_last_recording(
            self, stages: Stages, data: st.DataObject
        ) -> None:
            one, other = data.draw(answered(stages)), data.draw(answered(stages))
            expected, _ = whole(stages, other, sensor)
            whole(stages, one, sensor)
            np.testing.assert_array_equal(whole(stages, other, sensor)[0], expected)

        @every
        @settings(deadline=None, max_examples=25)
        @given(data=st.data())
        def test_a_gap_closes_what_is_open_and_forgets_what_was(
            self, stages: Stages, data: st.DataObject
        ) -> None:
            """What comes after a gap is what would come from a new start, but for a flag that says so."""
            columns, later = data.draw(answered(stages)), data.draw(answered(stages))
            shifted = (later[0] + int(columns[0][-1]) + 2 * _GAP_US, *later[1:])
            before, _ = whole(stages, columns, sensor)
            after, _ = whole(stages, shifted, sensor)
            results = in_pieces(engine(stages, sensor), packets.join([columns, shifted]), data)
            found = rows_of(results)
            _demand(len(found) == len(before) + len(after), "rows are missing, or too many, around the gap")
            np.testing.assert_array_equal(found[: len(before)], before)
            behind = found[len(before) :].copy()
            if "flags" in (behind.dtype.names or ()):
                early = (after["flags"] & WARM_UP) > 0
                np.testing.assert_array_equal((behind["flags"] & AFTER_GAP) > 0, early)
                behind["flags"] &= ~behind["flags"].dtype.type(AFTER_GAP)
            np.testing.assert_array_equal(behind, after)
            _demand(any(result.gaps for result in results), "the gap is not told")

        @every
        @settings(deadline=None, max_examples=15)
        @given(data=st.data())
        def test_rows_are_complete_before_the_watermark(self, stages: Stages, data: st.DataObject) -> None:
            columns, watermark = data.draw(answered(stages)), None
            run = engine(stages, sensor)
            for a, b in itertools.pairwise(data.draw(cuts(len(columns[0])))):
                for result in run.feed(packets.cut(columns, a, b)):
                    if watermark is not None and len(result.rows):
                        _demand(int(result.rows["t"].min()) >= watermark, "a row came behind the watermark")
                    watermark = result.watermark_us

    return Contract
