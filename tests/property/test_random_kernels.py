import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import random
from tests.reference import random as naive

seeds = st.integers(0, 2**63 - 1)
small = st.integers(0, 2**20)


@given(seeds, small, small, st.integers(0, 200))
def test_draws_equal_the_twin(seed, purpose, index, n):
    found = random.uniforms(seed, purpose, index, n)
    assert found.tolist() == [naive.uniform(seed, purpose, index, pixel) for pixel in range(n)]


def test_draws_are_uniform_normal_and_independent():
    n = 400_000
    u, again, later = (random.uniforms(7, 1, index, n) for index in (0, 0, 1))
    z = random.normals(7, 2, 0, n)
    np.testing.assert_array_equal(u, again)
    assert u.mean() == pytest.approx(0.5, abs=0.002)
    assert u.var() == pytest.approx(1 / 12, rel=0.01)
    assert z.mean() == pytest.approx(0, abs=0.006)
    assert z.var() == pytest.approx(1, rel=0.01)
    assert abs(np.corrcoef(u, later)[0, 1]) < 0.008
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.008


def test_the_table_of_normals_has_variance_one():
    assert random.NORMAL.astype(float).var() == pytest.approx(1, abs=1e-6)
    assert random.NORMAL[-1] == pytest.approx(3.67, abs=0.01)
