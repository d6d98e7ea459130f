import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels import warp
from tests.reference import warp as naive

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**32)
reaches = st.sampled_from([0.0, 0.3, 2.0, 40.0, 1e6])
moments = st.sampled_from([0.0, 1.0, 0.5, 1 / 3]) | st.floats(0, 1)


def flow(rng, size, reach):
    return (rng.normal(0, 1, (*size, 2)) * reach).astype(np.float32)


@given(seeds, sizes, reaches, moments)
def test_places_equal_their_twin(seed, size, reach, s):
    rng = np.random.default_rng(seed)
    there, back = flow(rng, size, reach), flow(rng, size, reach)
    for got, expected in zip(warp.places(there, back, s), naive.places(there, back, s), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(warp.shifted(there), naive.shifted(there))


@given(seeds, sizes, reaches, st.sampled_from([0.0, 0.01, 0.7, 3.0]))
def test_where_flows_meet_equals_its_twin(seed, size, reach, miss):
    rng = np.random.default_rng(seed)
    there = flow(rng, size, reach)
    returned = -there + flow(rng, size, miss)
    places = warp.shifted(there)
    got = warp.meet(there, returned, places)
    np.testing.assert_array_equal(got, naive.meet(there, returned, places))


def test_flows_that_meet_inside_do_and_those_that_leave_do_not():
    there = np.zeros((4, 5, 2), np.float32)
    there[..., 0] = 2.0
    met = warp.meet(there, -there, warp.shifted(there))
    assert met[:, :3].all()
    assert not met[:, 3:].any()
    assert not warp.meet(there, there, warp.shifted(there)).any()


@given(seeds, sizes, moments, st.sampled_from([1.0, 300.0, 70_000.0]))
def test_merging_equals_its_twin_and_never_wraps(seed, size, s, bright):
    rng = np.random.default_rng(seed)
    # What a cubic sample yields may lie beyond what it samples.
    one, other = (
        np.dstack([rng.uniform(-0.1, 1.1, size) * bright, rng.uniform(-0.2, 1.2, size)]).astype(np.float32)
        for _ in range(2)
    )
    np.testing.assert_array_equal(warp.merge(one, other, s), naive.merge(one, other, s))
