import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.motion import global_motion
from tests.reference import global_motion as naive


@given(st.integers(0, 2**32), st.integers(0, 40))
def test_the_fit_equals_its_twin(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-100, 100, (2, n))
    vx, vy = rng.standard_normal((2, n))
    weight = rng.uniform(0.1, 1, n)
    found, explained = global_motion.fit(x, y, vx, vy, weight)
    twin, twin_explained = naive.fit(x, y, vx, vy, weight)
    np.testing.assert_allclose(found, twin, rtol=1e-6, atol=1e-8)
    assert explained == pytest.approx(twin_explained, abs=1e-6)


def test_a_movement_is_found_although_a_fifth_of_the_tiles_move_by_themselves():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-150, 150, (2, 200))
    truth = np.array([0.2, -0.1, 0.004, -0.003])
    vx = truth[0] + truth[2] * x - truth[3] * y
    vy = truth[1] + truth[2] * y + truth[3] * x
    vx[:40] += 3.0
    found, explained = global_motion.fit(x, y, vx, vy, np.ones(200))
    np.testing.assert_allclose(found, truth, atol=1e-2)
    assert 0 < explained < 1


def test_tiles_in_one_place_cannot_tell():
    found, explained = global_motion.fit(*np.ones((5, 8)))
    assert (found == 0).all()
    assert explained == 0


@given(st.integers(0, 2**32), st.integers(0, 40), st.sampled_from([0.0, 1e-9, 1.0, 1e6]))
def test_growth_equals_its_twin(seed, n, fast):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-100, 100, (2, n))
    weight, motion = rng.uniform(0, 1, n), rng.standard_normal(4) * fast
    assert global_motion.growth(motion, x, y, weight) == pytest.approx(
        naive.growth(motion, x, y, weight), rel=1e-6
    )


def test_what_nears_grows_and_what_passes_does_not():
    x, y = (one.ravel().astype(float) for one in np.meshgrid(np.arange(-72, 80, 16), np.arange(-56, 60, 16)))
    near, pan, turn = (
        np.array([0.01, 0, 0.002, 0]),
        np.array([2.0, 0, 0.002, 0]),
        np.array([0, 0, 0.002, 0.02]),
    )
    growths = [global_motion.growth(motion, x, y, np.ones(len(x))) for motion in (near, pan, turn)]
    assert growths[0] > 5
    assert max(growths[1:]) < 0.2
    assert global_motion.growth(-near, x, y, np.ones(len(x))) < 0


def test_a_movement_is_found_although_nearly_half_of_the_tiles_move_by_themselves():
    """A compromise between the camera and what moves before it is neither."""
    rng = np.random.default_rng(0)
    x, y = (one.ravel().astype(float) for one in np.meshgrid(np.arange(-72, 80, 16), np.arange(-56, 60, 16)))
    truth = np.array([0.2, -0.1, 0.001, 0.0005])
    vx = truth[0] + truth[2] * x - truth[3] * y + rng.normal(0, 0.01, len(x))
    vy = truth[1] + truth[2] * y + truth[3] * x + rng.normal(0, 0.01, len(x))
    there = np.hypot(x - 30, y + 10) < 55
    assert 0.35 < there.mean() < 0.5
    vx[there], vy[there] = -0.25, 0.15
    found, _ = global_motion.fit(x, y, vx, vy, np.ones(len(x)))
    np.testing.assert_allclose(found[:2], truth[:2], atol=0.01)
    np.testing.assert_allclose(found[2:], truth[2:], atol=2e-4)
