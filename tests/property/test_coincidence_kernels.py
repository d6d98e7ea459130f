import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.motifs import coincidence
from kernels.motifs.history import NO_BIN
from tests.property.strategies import cuts, recordings
from tests.reference import coincidence as naive


@st.composite
def banks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from([1, 5, 40, 80])), 16 * 12, draw(st.sampled_from([1, 4, 31, 64]))
    weight = rng.integers(-1000, 1000, shape) * (rng.random(shape) < draw(st.sampled_from([0.01, 0.5])))
    return weight.astype(np.float32), rng.integers(-50, 50, shape[0]).astype(np.float32)


@settings(max_examples=60)
@given(recordings(max_events=50, max_step_us=9000), banks(), st.sampled_from([500, 1000]), st.data())
def test_both_strategies_equal_the_twin_however_it_is_cut(columns, bank, bin_us, data):
    t, x, y, _ = columns
    address = y.astype(np.int64) * 16 + x
    until = int(t[-1]) // bin_us + data.draw(st.integers(1, 80)) if len(t) else 5
    expected = naive.detect(t, address, *bank, bin_us, until)
    places = data.draw(cuts(len(t)))
    for push in (False, True):
        synapses = coincidence.synapses(*bank, push)
        past, found = coincidence.new_arrivals(synapses), []
        for a, b in itertools.pairwise(places):
            found.append(coincidence.advance(t[a:b], address[a:b], past, synapses, bin_us, NO_BIN))
        found.append(coincidence.advance(t[:0], address[:0], past, synapses, bin_us, until))
        rows = [(int(k), sums.tolist()) for f in found for k, sums in zip(f.bin, f.evidence, strict=True)]
        assert rows == expected


def test_more_bins_than_fit_into_one_call_are_all_there(monkeypatch):
    rng = np.random.default_rng(0)
    t, address = np.cumsum(rng.integers(0, 4000, 300)), rng.integers(0, 20, 300)
    bank = coincidence.synapses(rng.integers(-9, 9, (3, 20, 8)).astype(np.float32), np.zeros(3, np.float32))
    whole = coincidence.advance(t, address, coincidence.new_arrivals(bank), bank, 1000, 2**30)
    monkeypatch.setattr(coincidence, "_ROOM", 7)
    parts = coincidence.advance(t, address, coincidence.new_arrivals(bank), bank, 1000, 2**30)
    np.testing.assert_array_equal(parts.bin, whole.bin)
    np.testing.assert_array_equal(parts.evidence, whole.evidence)


def test_the_strategy_follows_the_density():
    dense, sparse = np.ones((2, 9, 4), np.float32), np.zeros((2, 9, 4), np.float32)
    sparse[0, 0, 0] = 1
    assert not coincidence.synapses(dense, np.zeros(2, np.float32)).push
    assert coincidence.synapses(sparse, np.zeros(2, np.float32)).push


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((1, 2, 65)), "at most 64"),
        (np.full((1, 2, 2), 0.5), "-32767"),
        (np.full((1, 2, 2), 2.0**23), r"2\^24"),
    ],
)
def test_banks_that_do_not_fit_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        coincidence.synapses(weight.astype(np.float32), np.zeros(1, np.float32))
