"""Arrival order to stream order: the same packets of time whatever the cuts."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline import packets
from pipeline.clock import Clock
from tests.property.strategies import cuts

times = st.lists(st.integers(0, 30_000), max_size=60) | st.lists(st.integers(0, 3000), max_size=60).map(
    # Nearly sorted: most come late, and few too late.
    lambda late: [max(0, 300 * i - one) for i, one in enumerate(late)]
)


def arrivals(values):
    n = len(values)
    t = np.array(values, np.int64)
    return t, np.arange(n, dtype=np.uint16), np.zeros(n, np.uint16), np.zeros(n, np.bool_)


def released(clock, columns, places):
    """[(t, arrival index)], the gaps with the number of events before them, and events late."""
    found, gaps = [], []

    def take(out):
        for packet in out:
            gaps.extend((len(found), gap.from_us, gap.to_us) for gap in packet.gaps)
            rows = list(zip(packet.columns["t"].tolist(), packet.columns["x"].tolist(), strict=True))
            assert all(t <= packet.watermark_us for t, _ in rows)
            found.extend(rows)

    for a, b in itertools.pairwise(places):
        take(clock.events(packets.cut(columns, a, b)))
    take(clock.flush())
    return found, gaps, clock.late


@given(times, st.sampled_from([0, 10, 2000]), st.sampled_from([2500, 10_000, 10**7]), st.data())
def test_release_does_not_depend_on_the_cuts(values, reorder_us, max_gap_us, data):
    columns = arrivals(values)
    whole = released(Clock(reorder_us, max_gap_us), columns, [0, len(values)])
    assert released(Clock(reorder_us, max_gap_us), columns, data.draw(cuts(len(values)))) == whole


@given(times, st.sampled_from([0, 10, 2000]), st.data())
def test_release_is_sorted_ties_in_arrival_order_and_only_the_late_are_missing(values, reorder_us, data):
    found, _, late = released(Clock(reorder_us), arrivals(values), data.draw(cuts(len(values))))
    running, expected = -1, []
    for i, t in enumerate(values):
        if t >= running - reorder_us:
            expected.append((t, i))
        running = max(running, t)
    assert found == sorted(expected)
    assert late == len(values) - len(expected)


@given(times)
def test_gaps_are_where_time_steps_too_far(values):
    values = sorted(values)
    _, gaps, _ = released(Clock(max_gap_us=1000), arrivals(values), [0, len(values)])
    expected = [(i + 1, a, b) for i, (a, b) in enumerate(itertools.pairwise(values)) if b - a > 1000]
    assert gaps == expected


def test_nothing_before_a_senders_gap_comes_after_it():
    clock = Clock(reorder_us=1000)
    out = (
        clock.events(arrivals([9800, 10_000]))
        + clock.gap(10_001)
        + clock.events(arrivals([9500, 12_000]))
        + clock.flush()
    )
    marks = [packet.watermark_us for packet in out]
    assert marks == sorted(marks)
    assert [t for packet in out for t in packet.columns["t"].tolist()] == [9800, 10_000, 12_000]
    assert clock.late == 1
