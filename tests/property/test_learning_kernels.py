import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.learning import regression
from kernels.learning.regression import Inputs
from pipeline.training.classes import Rings
from tests.property.strategies import recordings
from tests.reference import learning as naive

SIDES = st.sampled_from([1, 3, 5])


@settings(max_examples=40)
@given(recordings(max_events=120, max_step_us=300), SIDES, SIDES, st.sampled_from([1, 4, 64]))
def test_gathered_taps_equal_the_twin(columns, height, width, delays):
    t, x, y, p = columns
    bins = int(t[-1]) // 1000 + 1 if len(t) else 1
    past = regression.recent_past(t, x, y, p, 16, 12, bins, 1000)
    voxels = np.argwhere(np.any(past & np.uint64(1), axis=3))
    ry, rx = height // 2, width // 2
    inside = (voxels[:, 1] >= ry) & (voxels[:, 1] < 12 - ry) & (voxels[:, 2] >= rx) & (voxels[:, 2] < 16 - rx)
    voxels = voxels[inside]
    inputs = regression.gather(past, voxels, height, width, delays)
    assert len(inputs) == len(voxels)
    for i, voxel in enumerate(voxels):
        ours = sorted(inputs.index[inputs.offsets[i] : inputs.offsets[i + 1]].tolist())
        assert ours == naive.taps(t, x, y, p, voxel, height, width, delays, 1000)


@settings(max_examples=30)
@given(recordings(max_events=60, max_step_us=900), SIDES, SIDES, st.sampled_from([1, 4, 64]), st.data())
def test_taps_straight_from_the_events_equal_the_twin(columns, height, width, delays, data):
    t, x, y, p = columns
    voxels = np.array(
        data.draw(
            st.lists(st.tuples(st.integers(0, 70), st.integers(0, 11), st.integers(0, 15)), max_size=8)
        ),
        np.int64,
    ).reshape(-1, 3)
    inputs = regression.gather_events(t, x, y, p, voxels, height, width, delays, 1000)
    assert len(inputs) == len(voxels)
    for i, voxel in enumerate(voxels):
        ours = inputs.index[inputs.offsets[i] : inputs.offsets[i + 1]].tolist()
        assert ours == naive.taps(t, x, y, p, voxel, height, width, delays, 1000)


@given(st.integers(0, 2**32), st.integers(0, 12), st.booleans())
def test_regression_equals_the_dense_twin(seed, n, flip):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 6, n))]).astype(np.int64)
    inputs = Inputs(rng.integers(0, 20, offsets[-1]).astype(np.int32), offsets)
    weight, bias = rng.standard_normal((20, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    dense = naive.dense(inputs.index, offsets, 20)
    expected, swapped = naive.logits(dense, weight, bias, flip)
    found, ours = regression.logits(inputs, weight, bias, flip)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    clear = np.abs((dense - naive.swap(dense)) @ weight) > 1e-4  # else rounding decides
    np.testing.assert_array_equal(ours[clear], swapped[clear])
    error = rng.standard_normal((n, 3)).astype(np.float32)
    out = np.full((20, 3), 7, np.float32)
    regression.gradient(inputs, error, ours, out)
    np.testing.assert_allclose(out, naive.gradient(dense, error, ours), atol=1e-4)


def test_joined_inputs_are_those_of_all_parts():
    one = Inputs(np.array([3, 1, 4], np.int32), np.array([0, 2, 3]))
    other = Inputs(np.array([1, 5], np.int32), np.array([0, 0, 2]))
    both = regression.join([one, other])
    assert both.index.tolist() == [3, 1, 4, 1, 5]
    assert both.offsets.tolist() == [0, 2, 3, 3, 5]


@given(st.integers(0, 2**32), st.sampled_from([3, 5]))
def test_symmetrised_gradients_equal_the_twin(seed, size):
    rings = Rings(4, (0.2, 0.4))
    places, classes = rings.symmetries(size)
    slope = np.random.default_rng(seed).standard_normal((size * size * 6, len(rings))).astype(np.float32)
    out = np.empty_like(slope)
    regression.symmetrise(slope, places, classes, 6, out)
    np.testing.assert_allclose(out, naive.symmetrise(slope, places, classes, 6), atol=1e-5)
    again = np.empty_like(out)
    regression.symmetrise(out, places, classes, 6, again)
    np.testing.assert_allclose(again, out, atol=1e-5)


def test_adam_equals_the_twin():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 4)).astype(np.float32)
    slopes = rng.standard_normal((6, 5, 4)).astype(np.float32)
    expected = naive.adam(weight.astype(np.float64), slopes, 1e-2)
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step, slope in enumerate(slopes, 1):
        regression.adam(weight, slope, first, second, step, 1e-2)
    np.testing.assert_allclose(weight, expected, atol=1e-5)
