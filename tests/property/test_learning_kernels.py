import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import learning
from tests.property.strategies import recordings
from tests.reference import learning as naive


@settings(max_examples=40)
@given(recordings(max_events=120, max_step_us=300), st.sampled_from([1, 3, 5]), st.sampled_from([1, 4, 64]))
def test_gathered_taps_equal_the_twin(columns, size, delays):
    t, x, y, p = columns
    bins = int(t[-1]) // 1000 + 1 if len(t) else 1
    past = learning.recent_past(t, x, y, p, 16, 12, bins, 1000)
    voxels = np.argwhere(np.any(past & np.uint64(1), axis=3))
    half = size // 2
    inside = (
        (voxels[:, 1] >= half)
        & (voxels[:, 1] < 12 - half)
        & (voxels[:, 2] >= half)
        & (voxels[:, 2] < 16 - half)
    )
    voxels = voxels[inside]
    index, offsets = learning.gather(past, voxels, size, delays)
    for i, voxel in enumerate(voxels):
        ours = sorted(index[offsets[i] : offsets[i + 1]].tolist())
        assert ours == naive.taps(t, x, y, p, voxel, size, delays, 1000)


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_regression_equals_the_dense_twin(seed, n):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, n))]).astype(np.int64)
    index = rng.integers(0, 20, offsets[-1]).astype(np.int32)
    weight, bias = rng.standard_normal((20, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    expected, dense = naive.logits(index, offsets, weight, bias)
    np.testing.assert_allclose(learning.logits(index, offsets, weight, bias), expected, atol=1e-4)
    error = rng.standard_normal((n, 3)).astype(np.float32)
    np.testing.assert_allclose(
        learning.gradient(index, offsets, error, 20), naive.gradient(dense, error), atol=1e-4
    )
