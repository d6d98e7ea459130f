import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.motion import votes
from tests.reference import motion as naive

DIRECTIONS = np.array([2 * math.pi * i / 6 + 0.1 for i in range(6)])


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 4))
def test_field_equals_its_twin(seed, n, min_count):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-500, 500, (n, 6)).astype(np.float32)
    x, y = rng.integers(0, 20, n).astype(np.uint16), rng.integers(0, 12, n).astype(np.uint16)
    speeds = rng.uniform(0.1, 1, 6)
    logits, turned, count = np.zeros((3, 4, 6)), np.zeros((3, 4, 3)), np.zeros((3, 4), np.int64)
    votes.accumulate(sums, 0.01, x, y, 5, DIRECTIONS, logits, turned, count)
    found = votes.velocity(logits, turned, count, DIRECTIONS, speeds, min_count)
    ours = {(int(ty), int(tx)): values for tx, ty, *values in zip(*found, strict=True)}
    theirs = naive.field(sums, 0.01, x, y, 5, 20, 12, DIRECTIONS, speeds, min_count)
    assert ours.keys() == theirs.keys()
    for key, values in ours.items():
        assert values == pytest.approx(theirs[key], abs=1e-5)


def test_rows_that_agree_are_sure_and_rows_that_cancel_are_not():
    for labels, confidence in (([0] * 8, 1.0), ([0, 3] * 4, 0.0), ([0] * 4, 0.0)):
        n = len(labels)
        sums = np.zeros((n, 6), np.float32)
        sums[np.arange(n), labels] = 200
        logits, turned, count = np.zeros((1, 1, 6)), np.zeros((1, 1, 3)), np.zeros((1, 1), np.int64)
        nowhere = np.zeros(n, np.uint16)
        votes.accumulate(sums, 0.01, nowhere, nowhere, 5, DIRECTIONS, logits, turned, count)
        *_, sure = votes.velocity(logits, turned, count, DIRECTIONS, np.ones(6), 1)
        assert sure[0] == pytest.approx(confidence, abs=1e-6)
