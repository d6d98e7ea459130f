import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.coding import decode
from kernels.coding.decode import Decoder
from tests.property.strategies import cuts
from tests.reference import decode as naive

EVT2_KINDS = st.sampled_from([0, 0, 0, 1, 1, 8, 8, 10, 3, 14])
EVT3_KINDS = st.sampled_from([0, 2, 2, 3, 4, 4, 5, 6, 8, 10, 7, 14, 15, 9])


@st.composite
def evt2_bytes(draw):
    words = [
        draw(EVT2_KINDS) << 28 | draw(st.integers(0, 2**28 - 1)) for _ in range(draw(st.integers(0, 40)))
    ]
    return words, np.array(words, "<u4").tobytes()


@st.composite
def evt21_bytes(draw):
    words = [
        draw(EVT2_KINDS) << 60 | draw(st.integers(0, 2**60 - 1)) for _ in range(draw(st.integers(0, 40)))
    ]
    return words, np.array(words, "<u8").tobytes()


@st.composite
def evt3_bytes(draw):
    words = [draw(EVT3_KINDS) << 12 | draw(st.integers(0, 4095)) for _ in range(draw(st.integers(0, 60)))]
    return words, np.array(words, "<u2").tobytes()


def rows(parts):
    return [tuple(v.item() for v in row) for part in parts for row in zip(*part, strict=True)]


def in_cuts(data, places, word_bytes, t_zero):
    decoder = Decoder(word_bytes)
    parts = [decode.decode(decoder, data[a:b], t_zero) for a, b in itertools.pairwise(places)]
    return rows(parts), decoder


@given(evt2_bytes(), st.integers(0, 10**9), st.data())
def test_evt2_equals_its_twin_however_it_is_cut(stream, t_zero, data):
    words, raw = stream
    found, decoder = in_cuts(raw, data.draw(cuts(len(raw))), 4, t_zero)
    events, triggers = naive.evt2(words, t_zero)
    assert (found, decoder.ignored["triggers"]) == (events, triggers)


@given(evt21_bytes(), st.integers(0, 10**9), st.data())
def test_evt21_equals_its_twin_however_it_is_cut(stream, t_zero, data):
    words, raw = stream
    found, decoder = in_cuts(raw, data.draw(cuts(len(raw))), 8, t_zero)
    events, triggers = naive.evt21(words, t_zero)
    assert (found, decoder.ignored["triggers"]) == (events, triggers)


@given(evt3_bytes(), st.integers(0, 10**9), st.data())
def test_evt3_equals_its_twin_however_it_is_cut(stream, t_zero, data):
    words, raw = stream
    found, decoder = in_cuts(raw, data.draw(cuts(len(raw))), 2, t_zero)
    events, triggers = naive.evt3(words, t_zero)
    assert (found, decoder.ignored["triggers"]) == (events, triggers)


@given(st.binary(max_size=100).map(lambda data: data[: len(data) // 5 * 5]))
def test_aer40_equals_its_twin(data):
    assert rows([decode.decode_aer40(data)]) == naive.aer40(data)


def test_vectors_without_end_stay_beyond_every_sensor():
    words = [0x8000, 0x3000, *[0x4FFF] * 6000]
    found, _ = in_cuts(np.array(words, "<u2").tobytes(), [0, 2 * len(words)], 2, 0)
    assert [x for _, x, _, _ in found[:4096]] == list(range(4096))
    assert min(x for _, x, _, _ in found[4096:]) >= 4096
