import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels._jit import BOUNDS_CHECKED
from kernels.coding import decode, encode, events
from kernels.coding.decode import Clock, Decoder, SpifDecoder
from kernels.coding.encode import Encoder
from kernels.motifs._sums import sum_rows
from kernels.networks import encoding
from pipeline import packets
from pipeline.clock import Clock as StreamClock
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import validate
from pipeline.testing import rows_of, spec
from tests.contract.examples import EXAMPLES, SENSOR
from tests.property.strategies import HOUR_US, LATEST_US, cuts, extreme_recordings

LARGE = (2048, 2048)
FIVE_MINUTES = np.array([300_000_000, 300_000_005, 300_000_010])


def columns(t, x=5, y=5):
    n = len(t)
    return np.asarray(t, np.int64), np.full(n, x, np.uint16), np.full(n, y, np.uint16), np.ones(n, np.bool_)


def engine(stages):
    return Engine(Graph(validate(spec(stages)), Sensor(width=SENSOR[0], height=SENSOR[1])), StreamClock())


@pytest.mark.parametrize(
    "stages",
    [pytest.param(one, id=f"{kind}-{i}") for kind, all_ in EXAMPLES.items() for i, one in enumerate(all_)],
)
@settings(max_examples=20)
@given(recording=extreme_recordings(*SENSOR), data=st.data())
@example(recording=columns([0], 0, 0), data=None)
@example(recording=columns([LATEST_US], SENSOR[0] - 1, SENSOR[1] - 1), data=None)
@example(recording=columns([2**31 - 1, 2**31, 2**31 + HOUR_US]), data=None)
def test_stages_take_what_lies_at_the_ends(stages, recording, data):
    whole = engine(stages)
    expected = rows_of(whole.feed(recording) + whole.end())
    places = data.draw(cuts(len(recording[0]))) if data else range(len(recording[0]) + 1)
    run, results = engine(stages), []
    for a, b in itertools.pairwise(places):
        results += run.feed(packets.cut(recording, a, b))
    np.testing.assert_array_equal(rows_of(results + run.end()), expected)


def test_coordinates_that_no_pixel_has_are_left_out_before_any_stage_sees_them():
    run = engine([{"id": "a", "kind": "background_activity"}])
    run.feed(columns([1, 2, 3], 65535, 65535))
    run.end()
    assert run.dropped["out_of_sensor"] == 3


@settings(max_examples=300)
@given(extreme_recordings(*LARGE, max_events=8), st.sampled_from([2, 4]), st.data())
@example(columns(FIVE_MINUTES), 2, None)  # these two ended the process by writing behind an array
@example(columns(1_600_000_000_000_000 + np.arange(10)), 4, None)
@example(columns([0, 5 * HOUR_US, 5 * HOUR_US]), 4, None)
def test_few_events_after_a_long_silence_are_encoded_within_their_room(recording, word_bytes, data):
    n = len(recording[0])
    encoder, decoder, found = Encoder(word_bytes), Decoder(word_bytes), []
    t = recording[0]
    if n and int(t[-1]) > encode.MOST_WRAPS * encode.WRAP_US[word_bytes]:
        with pytest.raises(ValueError, match="would wrap"):
            encode.encode(encoder, columns([t[-1]]))
        return
    for a, b in itertools.pairwise(data.draw(cuts(n)) if data else [0, n]):
        found.append(decode.decode(decoder, encode.encode(encoder, packets.cut(recording, a, b))))
    for column, back in zip(recording, packets.join(found), strict=True):
        np.testing.assert_array_equal(back, column)


@pytest.mark.parametrize("word_bytes", [2, 4])
def test_a_long_silence_costs_three_words_a_wrap(word_bytes):
    wrap = encode.WRAP_US[word_bytes]
    raw = encode.encode(Encoder(word_bytes), columns([0, 1000 * wrap]))
    assert len(raw) <= word_bytes * (encode.WORDS_A_WRAP * 1000 + 2 * encode.MOST_WORDS[word_bytes])


def test_times_below_zero_are_refused():
    for word_bytes in (2, 4):
        with pytest.raises(ValueError, match="from 0 on, not -1 us"):
            encode.encode(Encoder(word_bytes), columns([-1]))


@given(st.sampled_from([2, 4, 8]), st.lists(st.integers(0, 2**64 - 1), max_size=40), st.data())
def test_any_words_are_decoded_within_their_room(word_bytes, words, data):
    raw = np.array(words, np.uint64).tobytes()
    decoder = Decoder(word_bytes)
    for a, b in itertools.pairwise(data.draw(cuts(len(raw)))):
        t, x, y, p = decode.decode(decoder, raw[a:b], data.draw(st.sampled_from([0, LATEST_US])))
        assert len(t) == len(x) == len(y) == len(p)


def test_words_full_of_events_find_their_room():
    full = np.array([8 << 60, *[1 << 60 | 0xFFFFFFFF] * 500], np.uint64)
    decoder = Decoder(8)
    decoder.per_word = 0.0  # as after a long quiet
    assert len(decode.decode(decoder, full.tobytes())[0]) == 500 * 32
    vectors = np.array([8 << 12, *[4 << 12 | 0xFFF] * 500], np.uint16)
    decoder = Decoder(2)
    decoder.per_word = 0.0
    assert len(decode.decode(decoder, vectors.tobytes())[0]) == 500 * 12


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_datagrams_are_decoded(packets_):
    decode.decode_spif(SpifDecoder(), packets_, [2**53 - 1] * len(packets_))


@given(st.integers(1, 32), st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_any_clock_is_followed(bits, values):
    low = np.array([value % 2**bits for value in values], np.int64)
    assert np.all(decode.unwrap(Clock(bits), low) % 2**bits == low)
    decode.decode_aer40(np.array(values, ">u8").tobytes()[: len(values) * 8 // 5 * 5])


@given(extreme_recordings(65536, 32768))
def test_rows_of_the_wire_hold_every_corner(recording):
    t, x, y, p = recording
    if len(t) and t[-1] - t[0] >= 2**32:
        return
    packed = events.pack_aer64(t, x, y, p, int(t[0]) if len(t) else 0)
    back = events.unpack_aer64(packed, int(t[0]) if len(t) else 0)
    for column, again in zip(recording, back, strict=True):
        np.testing.assert_array_equal(again, column)
    events.inside(x, y, 1, 1)
    events.first_fall(t)
    events.first_fall_aer64(packed)
    if len(t):
        events.survey(t, x, y)


@given(extreme_recordings(8, 6, max_events=5), st.integers(1, 2), st.integers(1, 3))
def test_steps_of_a_network_hold_the_corners(recording, polarities, most):
    t, x, y, p = recording
    encoder = encoding.new_encoder(8 * 6 * polarities)
    t = t % 10_000_000  # a stream's clock makes gaps of what is longer
    t.sort()
    until = (int(t[-1]) if len(t) else 0) // 1000 + 2
    made = encoding.by_time(t, x, y, p, encoder, 8, polarities, most, 1000, until)
    assert made.spikes.value.sum() <= len(t)
    encoding.by_count(t, x, y, p, encoding.new_encoder(8 * 6 * polarities), 8, polarities, most, 1)


@pytest.mark.skipif(not BOUNDS_CHECKED, reason="indices are checked in make test-bounds alone")
def test_an_index_that_leaves_its_array_is_noticed():
    table, codes, sums = np.zeros(16, np.int16), np.array([1], np.int32), np.zeros(16, np.int32)
    with pytest.raises(IndexError):
        _sum(table, codes, sums)


def _sum(table, codes, sums):
    import numba

    shape = (0, 0)

    @numba.njit
    def run(table, codes, sums):
        sum_rows(table, codes, 0, 1, 0, sums, 0, shape)

    run(table, codes, sums)
