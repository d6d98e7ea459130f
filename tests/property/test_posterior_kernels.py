import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.motifs import posterior
from tests.reference import posterior as naive


@given(st.integers(0, 2**32), st.integers(0, 9), st.integers(1, 5))
def test_certainty_equals_its_twin(seed, n, classes):
    sums = np.random.default_rng(seed).integers(-5000, 5000, (n, classes)).astype(np.float32)
    np.testing.assert_allclose(
        posterior.certainty(sums, 1e-3), naive.certainty(sums, 1e-3) if n else [], rtol=1e-9
    )


@given(st.integers(0, 2**32), st.integers(0, 60), st.floats(0.05, 5), st.data())
def test_a_steered_threshold_equals_its_twin_however_bins_are_grouped(seed, n, target, data):
    rng = np.random.default_rng(seed)
    bins = np.sort(rng.integers(0, 30, n))
    total = rng.integers(-100, 100, n).astype(np.float32)
    expected, level = naive.steered(bins, total, target, 3.0, 10.0)
    at = int(np.searchsorted(bins, data.draw(st.integers(0, 30))))
    state = posterior.new_level(10.0)
    kept = [
        posterior.steered(bins[part], total[part], target, 3.0, state) for part in (slice(at), slice(at, n))
    ]
    np.testing.assert_array_equal(np.concatenate(kept), expected)
    assert state[posterior.LEVEL] == pytest.approx(level)


def test_a_steered_threshold_finds_its_rate():
    rng = np.random.default_rng(0)
    bins = np.repeat(np.arange(4000), 20)
    total = rng.normal(0, 300, len(bins)).astype(np.float32)
    kept = posterior.steered(bins, total, 3.0, 10.0, posterior.new_level(0.0))
    assert kept[len(bins) // 2 :].sum() / 2000 == pytest.approx(3.0, rel=0.03)
