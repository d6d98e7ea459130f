"""What frames mean between two of them: a camera word that a gap or the end cuts is counted, and never finished by others."""

import numpy as np
import pytest

from kernels.coding import encode
from kernels.coding.encode import Encoder
from pipeline import wire
from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.intake import Intake
from pipeline.sensor import Sensor
from pipeline.spec import validate
from pipeline.wire import build, parse

CODES = {2: wire.EVT3, 4: wire.EVT2}
SPEC = {"stages": [{"id": "all", "kind": "crop", "x": 0, "y": 0, "width": 64, "height": 48}]}
COLUMNS = (
    np.arange(10, dtype=np.int64) * 100, np.arange(10, dtype=np.uint16), np.arange(10, dtype=np.uint16), np.ones(10, np.bool_),
)  # fmt: skip


def intake():
    return Intake(Engine(Graph(validate(SPEC), Sensor(width=64, height=48)), Clock()))


def rows(results):
    return sum(len(result.rows) for result in results)


@pytest.mark.parametrize("word_bytes", CODES)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_word_that_the_end_or_a_gap_cuts_is_counted(word_bytes, cut):
    raw, code = encode.encode(Encoder(word_bytes), COLUMNS), CODES[word_bytes]
    part = cut % word_bytes
    for last in (wire.END, wire.GAP):
        one = intake()
        found = rows(one.take(parse(build(wire.EVENTS, code, 1, 0, len(raw) - cut, raw[: len(raw) - cut]))))
        found += rows(one.take(parse(build(last, 0, 2, 2000, 0))))
        assert one.dropped["cut_words"] == (1 if part else 0)
        whole_words = (len(raw) - cut) // word_bytes * word_bytes
        other = intake()
        other_found = rows(other.take(parse(build(wire.EVENTS, code, 1, 0, whole_words, raw[:whole_words]))))
        other_found += rows(other.take(parse(build(last, 0, 2, 2000, 0))))
        assert (found, other.dropped["cut_words"]) == (other_found, 0)


def test_a_cut_word_is_none_where_the_rest_comes():
    raw = encode.encode(Encoder(4), COLUMNS)
    one = intake()
    found = rows(one.take(parse(build(wire.EVENTS, wire.EVT2, 1, 0, len(raw) - 3, raw[:-3]))))
    found += rows(one.take(parse(build(wire.EVENTS, wire.EVT2, 2, 0, 3, raw[-3:]))))
    found += rows(one.take(parse(build(wire.END, 0, 3, 2000, 0))))
    assert (found, one.dropped["cut_words"]) == (10, 0)


def test_counts_outlive_a_snapshot_and_snapshots_from_before_them_are_read():
    raw = encode.encode(Encoder(4), COLUMNS)
    one = intake()
    one.take(parse(build(wire.EVENTS, wire.EVT2, 1, 0, len(raw) - 3, raw[:-3])))
    one.take(parse(build(wire.GAP, 0, 2, 2000, 0)))
    state = one.snapshot()
    again = intake()
    again.restore(state)
    assert again.dropped == one.dropped
    assert again.dropped["cut_words"] == 1
    state["intake"]["counts"] = state["intake"]["counts"][:7]
    earlier = intake()
    earlier.restore(state)
    assert (earlier.frames, earlier.dropped["cut_words"]) == (2, 0)


class Watched(Intake):
    """Writes down what is counted at the moment at which a frame is."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "frames" and value:
            self.seen.append((value, self.engine.events, sum(self.events_at.values()), self.shed_events))


def test_a_frame_is_counted_when_its_events_are():
    one = Watched(intake().engine)
    one.seen = []
    raw = encode.encode(Encoder(4), COLUMNS)
    one.take(parse(build(wire.EVENTS, wire.EVT2, 1, 0, len(raw), raw)))
    one.shed(parse(build(wire.EVENTS, wire.EVT2, 2, 0, len(raw), raw)))
    plain = np.arange(10, dtype=np.uint64) * 100
    list(one.answers_to_rows([(2000, plain), (3000, plain)]))
    one.take(parse(build(wire.END, 0, 5, 9000, 0)))
    assert one.seen == [(1, 10, 10, 0), (2, 10, 10, 10), (4, 30, 30, 10), (5, 30, 30, 10)]
