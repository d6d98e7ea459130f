import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.motifs import gain
from tests.reference import gain as naive

TILES = 3


def rows(rng, n, classes, loud):
    t = np.cumsum(rng.integers(0, 2, n) * rng.integers(1, 5000, n)) + 1000
    return t, rng.integers(0, TILES, n), (loud * rng.normal(0, 1, (n, classes)) + 1).astype(np.float32)


@given(
    st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 4), st.integers(1, 9), st.sampled_from([0.0, 1.0, 1e4, 1e30]),
    st.integers(1, 10**7), st.integers(0, 60),
)  # fmt: skip
def test_gain_equals_its_twin_however_it_is_cut(seed, n, classes, least, loud, tau_us, cut):
    rng = np.random.default_rng(seed)
    t, tile, evidence = rows(rng, n, classes, loud)
    levels = gain.new_levels(TILES, 4.0, 2.5)
    parts = [
        gain.advance(t[part], tile[part], evidence[part], levels, 4.0, 2.5, tau_us, least)
        for part in (slice(0, cut), slice(cut, None))
    ]
    expected = naive.advance(t, tile, evidence, 4.0, 2.5, tau_us, least)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.4), (20.0, 9.0)])
def test_any_evidence_comes_to_the_same_scale_within_three_time_constants(mean, spread):
    rng = np.random.default_rng(1)
    n, tau_us = 30_000, 100_000
    t = np.arange(n) // 30 * 1000
    evidence = rng.normal(mean, spread, (n, 1)).astype(np.float32)
    levels = gain.new_levels(1, 4.0, 2.5)
    out = gain.advance(t, np.zeros(n, np.int64), evidence, levels, 4.0, 2.5, tau_us, 8)[t > 3 * tau_us]
    assert abs(out.mean() - 4.0) < 0.3
    assert abs(out.std() - 2.5) < 0.3


def test_silence_is_not_made_loud():
    n = 3000
    evidence = np.full((n, 1), 2.0, np.float32)
    out = gain.advance(
        np.arange(n) * 1000,
        np.zeros(n, np.int64),
        evidence,
        gain.new_levels(1, 4.0, 2.5),
        4.0,
        2.5,
        100_000,
        1,
    )
    assert np.abs(out[-100:] - 4.0).max() < 0.1
