import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import motifs
from tests.property.strategies import cuts, recordings
from tests.reference import motifs as naive


@st.composite
def banks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (
        draw(st.sampled_from([1, 3, 9])),
        2,
        draw(st.integers(1, 5)),
        *[draw(st.sampled_from([1, 3, 5]))] * 2,
    )
    weight = rng.integers(-1000, 1000, shape) * (rng.random(shape) < 0.7)
    return weight.astype(np.float32), rng.integers(-50, 50, shape[0]).astype(np.float32)


def advance_in_cuts(columns, places, bank, bin_us):
    history = motifs.new_history(16, 12, bank.radius)
    found = []
    for a, b in itertools.pairwise(places):
        part = [np.ascontiguousarray(c[a:b]) for c in columns]
        found.append(motifs.advance(*part, history, bank, bin_us, motifs.NO_BIN, True))
    nothing = [c[:0] for c in columns]
    found.append(motifs.advance(*nothing, history, bank, bin_us, 2**60, True))
    return found


@settings(max_examples=60)
@given(recordings(max_events=80), banks(), st.booleans(), st.sampled_from([1, 500, 1000]), st.data())
def test_detector_equals_its_twin_however_it_is_cut(columns, bank, flip, bin_us, data):
    weight, bias = bank
    places = data.draw(cuts(len(columns[0])))
    found = advance_in_cuts(columns, places, motifs.taps(weight, bias, flip), bin_us)
    rows = [
        (int(f.bin[i]), int(f.y[i]), int(f.x[i]), int(f.label[i]), f.evidence[i].tolist(), float(f.total[i]))
        for f in found
        for i in range(len(f.bin))
    ]
    expected = naive.detect(*columns, weight, bias, bin_us, 16, 12, flip)
    assert rows == [(k, y, x, c, s.tolist(), s[c]) for k, y, x, c, s in expected]


@pytest.mark.parametrize("shape", [(1, 2, 65, 3, 3), (1, 2, 4, 4, 4), (1, 2, 4, 3, 5)])
def test_odd_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="odd, square"):
        motifs.taps(np.zeros(shape, np.float32), np.zeros(1, np.float32), False)


def test_sums_that_float32_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"2\^24"):
        motifs.taps(np.full((1, 2, 1, 1, 1), 2.0**23, np.float32), np.zeros(1, np.float32), False)
