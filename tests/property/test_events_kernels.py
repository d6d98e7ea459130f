import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import filters
from kernels.coding import events, stable_order
from tests.property.strategies import recordings
from tests.reference import filters as naive


@given(recordings(), st.integers(0, 3000))
def test_refractory_equals_its_twin(columns, period_us):
    t, x, y, _ = columns
    kept = filters.refractory(t, x, y, filters.blank_map(16, 12), period_us)
    assert kept.tolist() == naive.refractory(
        list(zip(*map(np.ndarray.tolist, columns), strict=True)), period_us
    )


@given(recordings(), st.integers(0, 3000))
def test_background_activity_equals_its_twin(columns, window_us):
    t, x, y, _ = columns
    kept = filters.background_activity(t, x, y, filters.blank_map(18, 14), window_us)
    rows = list(zip(*map(np.ndarray.tolist, columns), strict=True))
    assert kept.tolist() == naive.background_activity(rows, window_us)


@given(st.lists(st.integers(0, 5000), max_size=50), st.integers(0, 500), st.integers(1000, 3000))
def test_admission_equals_its_twin(times, reorder_us, max_gap_us):
    t = np.array(times, np.int64)
    kept, gaps, running, start = [], [], events.NO_TIME, 0
    while start < len(t):
        part, running, taken = events.admit(t[start:], running, reorder_us, max_gap_us)
        kept += part.tolist()
        start += taken
        if start < len(t):
            gaps.append(start)
            part, running, _ = events.admit(t[start : start + 1], running, reorder_us, 2**62)
            kept += part.tolist()
            start += 1
    assert (kept, gaps) == naive.admit(times, reorder_us, max_gap_us)


@given(recordings(width=65535, height=32767, start_us=st.integers(0, 2**53 - 2**33)))
def test_aer64_round_trip(columns):
    t, x, y, p = columns
    base = int(t[0]) if len(t) else 0
    for column, back in zip(
        columns, events.unpack_aer64(events.pack_aer64(t, x, y, p, base), base), strict=True
    ):
        np.testing.assert_array_equal(column, back)


def test_aer64_refuses_what_does_not_fit():
    one = np.ones(1, np.uint16)
    with pytest.raises(ValueError, match="t_us"):
        events.pack_aer64(np.array([2**32]), one, one, np.ones(1, bool), 0)
    with pytest.raises(ValueError, match="32768"):
        events.pack_aer64(np.array([0]), one, one * 32768, np.ones(1, bool), 0)


@given(st.lists(st.integers(-100, 100), max_size=20))
def test_first_fall(times):
    falls = [i for i in range(1, len(times)) if times[i] < times[i - 1]]
    assert events.first_fall(np.array(times, np.int64)) == (falls[0] if falls else -1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=300), st.booleans())
def test_order_among_ties_equals_a_stable_sort(rows, many_keys):
    rows.sort(key=lambda row: row[0])
    keys = [key * 10**15 for _, key in rows] if many_keys else [key for _, key in rows]
    order = stable_order.tie_order(np.array([t for t, _ in rows], np.int64), np.array(keys, np.uint64))
    expected = sorted(range(len(rows)), key=lambda i: (rows[i][0], keys[i]))
    assert (list(range(len(rows))) if order is None else order.tolist()) == expected


def test_the_worst_order_among_ties_takes_no_quadratic_time():
    n = 1_000_000
    order = stable_order.tie_order(np.zeros(n, np.int64), np.arange(n, dtype=np.uint64)[::-1].copy())
    np.testing.assert_array_equal(order, np.arange(n)[::-1])


@given(recordings(), st.lists(st.integers(-30, 30), min_size=60, max_size=60))
def test_settling_is_a_stable_sort(columns, jitter):
    t, x, y, p = (column.copy() for column in columns)
    t += np.resize(np.array(jitter, np.int64), len(t)) * 3
    order = np.argsort(t, kind="stable")
    expected = [column[order].tolist() for column in (t, x, y, p)]
    assert events.settle(t, x, y, p)
    assert [column.tolist() for column in (t, x, y, p)] == expected


def test_settling_gives_up_on_what_is_far_from_order():
    n = 20_000
    t = np.arange(n, 0, -1)
    x = np.zeros(n, np.uint16)
    assert not events.settle(t, x, x.copy(), x > 0)
    assert sorted(t.tolist()) == list(range(1, n + 1))


@given(recordings())
def test_survey_equals_numpy(columns):
    t, x, y, _ = columns
    if len(t):
        assert events.survey(t, x, y) == (t.min(), t.max(), x.max(), y.max())
