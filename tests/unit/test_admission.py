import json

import numpy as np
import pytest

from pipeline import wire
from service.streams.admission import Gate, Refused, verify

LABEL = json.dumps({"output": "motion", "label": "right", "from_us": 0, "to_us": 5}).encode()


def gate(**changes):
    return Gate(**{"max_frame_bytes": 1000, "limit": 5000, **changes})


def events(number=1, t_us=0, since=(0, 1), code=wire.AER64):
    rows = np.array(since, np.uint64).tobytes()
    return wire.build(wire.EVENTS, code, number, t_us, len(since), rows)


def camera(number, data, code=wire.EVT3):
    return wire.build(wire.EVENTS, code, number, 0, len(data), data)


def admit(at, raw):
    """Let a frame in and look at it whole, as a stream does."""
    before = at.accepted, at.accepted_bytes, at.encoding
    admitted = at.admit(raw)
    try:
        return admitted if admitted is None else verify(admitted)
    except Refused:
        at.roll_back(*before)
        raise


BAD = [
    (wire.build(9, 0, 1, 0, 0), 4400, "type 9"),
    (wire.build(wire.WATERMARK, 0, 1, 0, 0), 4400, "type 20"),
    (wire.build(wire.HEARTBEAT, 0, 0, 0, 0), 4400, "start at 1"),
    (wire.build(wire.HEARTBEAT, 0, 2, 0, 0), 4409, "expected frame 1, got 2"),
    (wire.build(wire.HEARTBEAT, 0, 1, -1, 0), 4400, "t_us"),
    (wire.build(wire.HEARTBEAT, 0, 1, 2**53, 0), 4400, "t_us"),
    (wire.build(wire.HEARTBEAT, 0, 1, 0, 1, b"x"), 4400, "count 0"),
    (events(code=3, since=()), 4400, "encoding 3"),
    (events(since=(5, 4)), 4400, "time falls"),
    (events(t_us=2**53 - 1, since=(0, 1)), 4400, "2^53 - 1"),
    (camera(1, b"% evt 3.0\n"), 4400, "% header"),
    (wire.build(wire.LABEL, 0, 1, 0, 3, b"abc"), 4400, "a label is JSON"),
    (wire.build(wire.LABEL, 0, 1, 0, 2, b"{}"), 4400, "a label has the keys"),
    (events(since=range(130)), 1009, "at most 1000 bytes"),
    (b"", 4400, "at least 32 bytes"),
]


@pytest.mark.parametrize(("raw", "close", "detail"), BAD)
def test_a_bad_frame_is_refused_and_nothing_of_it_is_taken(raw, close, detail):
    at = gate()
    with pytest.raises(Refused) as caught:
        admit(at, raw)
    assert (caught.value.close, detail in caught.value.detail) == (close, True)
    assert (at.accepted, at.accepted_bytes, at.encoding) == (0, 0, None)
    assert admit(at, events()) is not None  # and the next good one comes in


def test_every_type_comes_in_when_it_is_well_formed():
    at = gate()
    frames = [
        events(1), wire.build(wire.HEARTBEAT, 0, 2, 5, 0), wire.build(wire.LABEL, 0, 3, 5, len(LABEL), LABEL),
        wire.build(wire.GAP, 0, 4, 9, 0), wire.build(wire.END, 0, 5, 9, 0),
    ]  # fmt: skip
    assert all(admit(at, raw) is not None for raw in frames)
    assert (at.accepted, at.accepted_bytes, at.ended) == (5, sum(map(len, frames)), True)


def test_what_came_before_is_ignored_and_counted():
    at = gate()
    for _ in range(3):
        admit(at, events(1))
    assert (at.accepted, at.duplicates) == (1, 2)


def test_the_encoding_is_that_of_the_first_events_frame():
    at = gate()
    admit(at, camera(1, b"\0\0"))
    with pytest.raises(Refused, match="the stream began with 2"):
        admit(at, events(2))


def test_after_the_end_only_another_end_may_come():
    at = gate()
    admit(at, wire.build(wire.END, 0, 1, 0, 0))
    assert admit(at, wire.build(wire.END, 0, 2, 0, 0)) is None
    with pytest.raises(Refused) as caught:
        admit(at, events(2))
    assert caught.value.close == 4410


def test_the_limit_holds():
    at = gate(limit=len(events()) + 1)
    admit(at, events(1))
    with pytest.raises(Refused) as caught:
        admit(at, events(2))
    assert caught.value.close == 1008


def test_an_end_behind_a_frame_that_proved_bad_has_not_come():
    at = gate()
    at.admit(events(1))
    before = at.accepted, at.accepted_bytes, at.encoding
    at.admit(events(2))
    at.admit(wire.build(wire.END, 0, 3, 0, 0))
    assert at.ended
    at.roll_back(*before)
    assert not at.ended
    assert at.admit(events(2)).frame.number == 2
