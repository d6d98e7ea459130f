"""What filters take out is counted, by stage; over a snapshot, too."""

import numpy as np

from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import validate

STAGES = [
    {"id": "part", "kind": "crop", "x": 0, "y": 0, "width": 32, "height": 48},
    {"id": "quiet", "kind": "refractory", "period_us": 500},
    {"id": "found", "kind": "motif", "model": "motif8"},
]


def engine():
    return Engine(Graph(validate({"stages": STAGES}), Sensor(width=64, height=48)), Clock())


def columns(n, start=0):
    rng = np.random.default_rng(n)
    t = start + np.sort(rng.integers(0, 20_000, n))
    return (
        t,
        rng.integers(0, 64, n).astype(np.uint16),
        rng.integers(0, 48, n).astype(np.uint16),
        rng.random(n) < 0.5,
    )


def by_hand(*parts):
    """(beyond the crop, within a period of the pixel's last event)."""
    t, x, y, _ = (np.concatenate(one) for one in zip(*parts, strict=True))
    last, within = {}, 0
    for at, left, top in zip(t, x, y, strict=True):
        if left >= 32:
            continue
        if at - last.get((left, top), -(10**9)) < 500:
            within += 1
        else:
            last[left, top] = at
    return {"part": int((x >= 32).sum()), "quiet": within}


def test_each_filter_says_how_many_it_took_out():
    one, first, second = engine(), columns(5000), columns(4000, 20_000)
    assert one.graph.removed == {"part": 0, "quiet": 0}
    one.feed(first)
    again = engine()
    again.restore(one.snapshot())
    for each in (one, again):
        each.feed(second)
        each.end()
        assert each.graph.removed == by_hand(first, second)


def test_a_snapshot_of_before_they_were_counted_is_read():
    one = engine()
    one.feed(columns(100))
    state = one.snapshot()
    del state["engine"]["removed"]
    again = engine()
    again.restore(state)
    assert again.graph.removed == {"part": 0, "quiet": 0}
