import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import motion
from tests.reference import motion as naive


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 4))
def test_field_equals_its_twin(seed, n, min_count):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-500, 500, (n, 6)).astype(np.float32)
    x, y = rng.integers(0, 20, n).astype(np.uint16), rng.integers(0, 12, n).astype(np.uint16)
    directions = np.array([2 * math.pi * i / 6 + 0.1 for i in range(6)])
    speeds = rng.uniform(0.1, 1, 6)
    posterior, count = np.zeros((3, 4, 6)), np.zeros((3, 4), np.int64)
    motion.accumulate(sums, 0.01, x, y, 5, posterior, count)
    found = motion.velocity(posterior, count, directions, speeds, min_count)
    ours = {(int(tx), int(ty)): values for tx, ty, *values in zip(*found, strict=True)}
    theirs = naive.field(
        sums.tolist(), 0.01, x.tolist(), y.tolist(), 5, directions.tolist(), speeds.tolist(), min_count
    )
    assert ours.keys() == theirs.keys()
    for key, values in ours.items():
        assert values == pytest.approx(theirs[key], abs=1e-5)
