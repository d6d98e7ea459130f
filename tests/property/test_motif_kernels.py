import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import _jit, _sums, motifs
from kernels.history import NO_BIN, new_history
from kernels.targets import at_events, at_random, on_grid
from tests.property.strategies import cuts, recordings
from tests.reference import motifs as naive
from tests.reference import sums as naive_sums

SIZE = 16, 12


@st.composite
def banks(draw, classes=(1, 3, 9, 40, 80)):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sides = st.sampled_from([1, 3, 5])
    shape = draw(st.sampled_from(classes)), 2, draw(st.integers(1, 5)), draw(sides), draw(sides)
    weight = rng.integers(-1000, 1000, shape) * (rng.random(shape) < draw(st.sampled_from([0.05, 0.7])))
    return weight.astype(np.float32), rng.integers(-50, 50, shape[0]).astype(np.float32)


def advance_in_cuts(columns, places, bank, bin_us, where):
    history, lists = new_history(*SIZE, bank.width, bank.height), motifs.new_lists(*SIZE, bank)
    found = []
    for a, b in itertools.pairwise(places):
        part = [np.ascontiguousarray(c[a:b]) for c in columns]
        found.append(motifs.advance(*part, history, lists, bank, bin_us, NO_BIN, True, where))
    nothing = [c[:0] for c in columns]
    found.append(motifs.advance(*nothing, history, lists, bank, bin_us, 2**60, True, where))
    return found


def rows_of(found):
    return [
        (int(f.bin[i]), int(f.y[i]), int(f.x[i]), int(f.label[i]), f.evidence[i].tolist(), float(f.total[i]))
        for f in found
        for i in range(len(f.bin))
    ]


@settings(max_examples=80)
@given(
    recordings(max_events=60), banks(), st.booleans(), st.sampled_from([1, 500, 1000]),
    st.sampled_from([("events", 1), ("events", 3), ("grid", 1), ("grid", 5), ("random", 0.2, 7)]), st.data(),
)  # fmt: skip
def test_detector_equals_its_twin_however_it_is_cut(columns, bank, flip, bin_us, where, data):
    weight, bias = bank
    kind, *numbers = where
    ours = {"events": at_events, "grid": on_grid, "random": at_random}[kind](*numbers)
    places = data.draw(cuts(len(columns[0])))
    found = advance_in_cuts(columns, places, motifs.taps(weight, bias, flip), bin_us, ours)
    expected = naive.detect(*columns, weight, bias, bin_us, *SIZE, flip, where)
    assert rows_of(found) == [(k, y, x, c, s.tolist(), s[c]) for k, y, x, c, s in expected]


def test_answers_that_do_not_fit_into_one_call_are_all_there(monkeypatch):
    rng = np.random.default_rng(0)
    n = 400
    columns = (
        np.cumsum(rng.integers(0, 300, n)), rng.integers(0, 16, n).astype(np.uint16),
        rng.integers(0, 12, n).astype(np.uint16), rng.random(n) < 0.5,
    )  # fmt: skip
    weight = rng.integers(-9, 9, (3, 2, 4, 3, 3)).astype(np.float32)
    bank = motifs.taps(weight, np.zeros(3, np.float32), True)
    whole = rows_of(advance_in_cuts(columns, [0, n], bank, 1000, on_grid()))
    monkeypatch.setattr(motifs, "_ROOM", 1)
    assert rows_of(advance_in_cuts(columns, [0, n], bank, 1000, on_grid())) == whole
    assert len(whole) > 16 * 12 * 4


@_jit.kernel
def _sum(table, codes, start, stop, base, acc, at, shape):
    _sums.sum_rows(table, codes, start, stop, base, acc, at, shape)


@given(st.sampled_from(_sums.WIDTHS), st.integers(0, 20), st.integers(0, 5), st.integers(0, 2**32))
def test_sums_of_rows_equal_the_twin(width, n, base, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(-32767, 32768, 40 * width).astype(np.int16)
    codes = rng.integers(0, 35, n + 2).astype(np.int32)
    ours = rng.integers(-9, 9, 3 * width).astype(np.int32)
    twin = ours.copy()
    _sum(table, codes, 1, 1 + n, base, ours, width, _sums.shape_of(width))
    naive_sums.sum_rows(table, codes, 1, 1 + n, base, twin, width, width)
    np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("shape", [(1, 2, 65, 3, 3), (1, 2, 4, 4, 4), (1, 2, 4, 3, 2)])
def test_odd_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="odd sides"):
        motifs.taps(np.zeros(shape, np.float32), np.zeros(1, np.float32), False)


def test_sums_that_float32_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"2\^24"):
        motifs.taps(np.full((1, 2, 1, 1, 1), 2.0**23, np.float32), np.zeros(1, np.float32), False)


@pytest.mark.parametrize("weight", [0.5, 40_000])
def test_weights_that_are_no_int16_are_refused(weight):
    with pytest.raises(ValueError, match="-32767 to 32767"):
        motifs.taps(np.full((1, 2, 1, 1, 1), weight, np.float32), np.zeros(1, np.float32), False)
