import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.video import warp
from tests.reference import warp as naive

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**32)
reaches = st.sampled_from([0.0, 0.3, 2.0, 40.0, 1e6])
large = st.tuples(st.integers(1, 35), st.integers(1, 35))


def flow(rng, size, reach):
    return (rng.normal(0, 1, (*size, 2)) * reach).astype(np.float32)


@given(seeds, large, reaches, st.integers(2, 64), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans())
def test_pictures_between_equal_their_twin_in_any_order(seed, size, reach, n, step_px, is_bright):
    rng = np.random.default_rng(seed)
    there, back = flow(rng, size, reach), flow(rng, size, reach)
    before, after = (rng.integers(0, 65536, size, np.uint16) for _ in range(2))
    if is_bright:  # a cubic sample may lie beyond what it samples
        before, after = (np.where(one > 30_000, 65535, 0).astype(np.uint16) for one in (before, after))
    seen = rng.random(size) < 0.8, rng.random(size) < 0.8
    pair = warp.pair(before, after, there, back, seen, n, step_px)
    asked = [*range(1, n)] if rng.random() < 0.5 else rng.integers(1, n, 3).tolist()
    for k in asked[:4]:
        expected = naive.between(before, after, there, back, seen, n, step_px, k)
        np.testing.assert_array_equal(warp.at(pair, k), expected)


@given(seeds, sizes, reaches)
def test_where_flows_lead_equals_its_twin(seed, size, reach):
    there = flow(np.random.default_rng(seed), size, reach)
    np.testing.assert_array_equal(warp.shifted(there), naive.shifted(there))


def test_flows_that_are_no_numbers_lead_nowhere_else():
    rng = np.random.default_rng(1)
    there = np.full((20, 30, 2), np.nan, np.float32)
    before, after = (rng.integers(0, 65536, (20, 30), np.uint16) for _ in range(2))
    seen = np.ones((20, 30), bool)
    for flows in ((there, there), (np.full_like(there, np.inf), np.full_like(there, -np.inf))):
        pair = warp.pair(before, after, *flows, (seen, seen), 4, 1.0)
        assert all(warp.at(pair, k).shape == (20, 30) for k in (1, 2, 3))


def test_what_stands_still_fades_and_what_moves_is_moved():
    before = np.zeros((32, 48), np.uint16)
    before[:, 20:28] = 40_000
    there = np.zeros((32, 48, 2), np.float32)
    there[:, 16:32, 0] = 8.0
    after = np.roll(before, 8, axis=1)
    seen = np.ones(before.shape, bool)
    pair = warp.pair(before, after, there, -there, (seen, seen), 8, 1.0)
    assert pair.counts.tolist() == [[1, 8, 1]] * 2
    assert abs(int(warp.at(pair, 4)[16, 24:32].mean()) - 40_000) < 2000


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
