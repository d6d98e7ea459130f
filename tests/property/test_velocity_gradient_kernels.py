import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.motion import velocity_gradient
from tests.reference import velocity_gradient as naive

ACROSS, DOWN, ANGLES = 6, 5, 24


def numbered(speaks):
    number = np.full(ACROSS * DOWN, -1, np.int64)
    number[speaks] = np.arange(len(speaks))
    return number


@given(st.integers(0, 2**32), st.floats(0.1, 1), st.sampled_from([0.0, 0.1, 1.0, 1e3]))
def test_steps_equal_their_twin(seed, share, noise):
    rng = np.random.default_rng(seed)
    speaks = np.flatnonzero(rng.random(ACROSS * DOWN) < share)
    mean, slope = rng.normal(0, 1, 2), rng.normal(0, 0.3, (2, 2))
    v = (
        mean
        + np.stack([speaks % ACROSS, speaks // ACROSS], axis=1) @ slope
        + noise * rng.normal(0, 1, (len(speaks), 2))
    )
    sure = rng.uniform(0.01, 1, len(speaks))
    vx, vy = np.ascontiguousarray(v[:, 0]), np.ascontiguousarray(v[:, 1])
    found = velocity_gradient.steps(vx, vy, sure, speaks, numbered(speaks), ACROSS, ANGLES)
    expected = naive.steps(vx, vy, sure, speaks, ACROSS, ANGLES)
    assert found.shape == (len(speaks), 4, 2)
    # Where a step lies between two cells, or a turn between left and right, rounding may go either way.
    clear = (
        np.isfinite(expected) & (np.abs(expected % 1 - 0.5) > 1e-6) & (np.abs(expected) < ANGLES / 2 - 0.51)
    )
    np.testing.assert_array_equal(found[clear], np.rint(expected[clear]))


def test_an_even_field_has_no_steps_and_one_that_turns_has():
    speaks = np.arange(ACROSS * DOWN)
    column, row = (speaks % ACROSS).astype(float), (speaks // ACROSS).astype(float)
    sure, number = np.ones(len(speaks)), numbered(speaks)
    even = velocity_gradient.steps(
        np.ones(len(speaks)), np.zeros(len(speaks)), sure, speaks, number, ACROSS, ANGLES
    )
    assert not even.any()
    # Turning about a place far to the left: to the right it is faster, below it points further round.
    turning = velocity_gradient.steps(-(row - 2), column + 2, sure, speaks, number, ACROSS, ANGLES)
    left, right, above, below = (turning[2 * ACROSS + 2, side] for side in range(4))
    assert right[0] > 0 > left[0]
    assert below[1] > 0 > above[1]


def test_nothing_and_velocities_of_zero_move_nothing():
    none = np.empty(0)
    assert velocity_gradient.steps(
        none, none, none, np.empty(0, np.int64), numbered([]), ACROSS, ANGLES
    ).shape == (0, 4, 2)
    still = np.zeros(ACROSS * DOWN)
    speaks = np.arange(ACROSS * DOWN)
    assert not velocity_gradient.steps(
        still, still, still + 1, speaks, numbered(speaks), ACROSS, ANGLES
    ).any()
