import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.motion import groups
from tests.reference import groups as naive


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 8), st.sampled_from([0.0, 0.3, 1.0]))
def test_groups_equal_their_twin(seed, across, down, alike):
    rng = np.random.default_rng(seed)
    there = rng.permutation(across * down)[: rng.integers(0, across * down + 1)]
    column, row = there % across, there // across
    vx, vy = rng.choice([-1.0, 0.0, 0.5, 0.7, 1e300], (2, len(there)))
    found = groups.groups(column, row, vx, vy, alike)
    assert found.tolist() == naive.groups(column, row, vx, vy, alike)


def test_a_ring_is_one_group_and_what_is_inside_another():
    row, column = np.divmod(np.arange(25), 5)
    inside = (row == 2) & (column == 2)
    empty = (np.maximum(np.abs(row - 2), np.abs(column - 2)) == 1) & ~inside
    row, column, inside = row[~empty], column[~empty], inside[~empty]
    found = groups.groups(column, row, np.ones(len(row)), np.zeros(len(row)), 0.5)
    assert found[inside].tolist() == [1]
    assert set(found[~inside].tolist()) == {0}
