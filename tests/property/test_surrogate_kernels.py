"""The spatial gradient against dense arithmetic, and against differences of the loss where nothing spikes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels._lanes import padded
from kernels.learning import surrogate
from kernels.networks.synapses import Shape
from pipeline.training.classifiers.spiking import Activity, LayerPlan, NeuronPlan, SpikingLearner
from tests.reference.spiking import convolve

F = np.float32


def layer_of(rng, source, channels, size, stride):
    pad = size // 2
    target = Shape(
        *((side + 2 * pad - size) // stride + 1 for side in (source.height, source.width)), channels
    )
    weight = rng.integers(-4, 5, (size, size, source.channels, channels)).astype(F)
    return surrogate.table_of(weight, source, target, (stride, stride), (pad, pad)), target, weight, pad


def on_lanes(rng, examples, grid, share):
    """[example, site, lane], whole numbers, and the same as [example, channel, y, x]."""
    values = rng.integers(-3, 4, (examples, grid.sites, grid.channels)) * (
        rng.random((examples, grid.sites, grid.channels)) < share
    )
    laid = np.zeros((examples, grid.sites, padded(grid.channels)), F)
    laid[:, :, : grid.channels] = values
    return laid, values.reshape(examples, grid.height, grid.width, grid.channels).transpose(0, 3, 1, 2)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.integers(1, 9))
def test_forward_and_both_gradients_equal_dense_arithmetic(seed, size, stride, channels):
    rng = np.random.default_rng(seed)
    source = Shape(5, 6, 3)
    layer, target, weight, pad = layer_of(rng, source, channels, size, stride)
    below, image = on_lanes(rng, 2, source, 0.4)
    error, wrong = on_lanes(rng, 2, target, 0.4)
    framework = weight.transpose(3, 2, 0, 1)  # [out, in, y, x]
    bias = np.zeros(padded(channels), F)
    bias[:channels] = rng.integers(-3, 4, channels)
    x = np.empty((2, target.sites, padded(channels)), F)
    surrogate.charge(below, layer, layer.table, bias, x)
    slope, lower = np.zeros_like(layer.table), np.empty_like(below)
    surrogate.weight_gradient(below, error, layer, slope)
    surrogate.input_gradient(error, layer, surrogate.transposed(layer, layer.table, 3), lower)
    grid = (target.height, target.width)
    for k in range(2):
        expected = convolve(image[k], framework, (stride, stride), (pad, pad), (1, 1), 1, grid)
        expected += bias[:channels, None, None]
        np.testing.assert_array_equal(
            x[k, :, :channels].reshape(*grid, channels).transpose(2, 0, 1), expected
        )
    by_weight, by_input = np.zeros(weight.shape), np.zeros(image.shape)
    for k, ky, kx, i, o, oy, ox in np.ndindex(2, size, size, 3, channels, *grid):
        y, x_ = oy * stride + ky - pad, ox * stride + kx - pad
        if 0 <= y < 5 and 0 <= x_ < 6:
            by_weight[ky, kx, i, o] += image[k, i, y, x_] * wrong[k, o, oy, ox]
            by_input[k, i, y, x_] += weight[ky, kx, i, o] * wrong[k, o, oy, ox]
    np.testing.assert_array_equal(surrogate.weight_of(layer, slope), by_weight)
    np.testing.assert_array_equal(lower[:, :, :3].reshape(2, 5, 6, 3).transpose(0, 3, 1, 2), by_input)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("kind", [surrogate.ATAN, surrogate.RECTANGLE])
def test_neurons_fire_and_have_a_derivative(hard, kind):
    rng = np.random.default_rng(3)
    x, u = rng.normal(0, 1, 200).astype(F), rng.normal(0, 1, 200).astype(F)
    before, s, psi = u.copy(), np.empty(200, F), np.empty(200, F)
    surrogate.fire(x, u, 0.7, 0.9, hard, kind, s, psi)
    v = F(0.7) * before + x
    np.testing.assert_array_equal(s, v >= F(0.9))
    np.testing.assert_allclose(u, v * (1 - s) if hard else v - F(0.9) * s, atol=1e-6)
    away = v - 0.9
    expected = 1 / (1 + (np.pi * away) ** 2) if kind == surrogate.ATAN else np.abs(away) < 0.5
    np.testing.assert_allclose(psi, expected, rtol=1e-4)


def test_the_gradient_of_rectified_neurons_is_that_of_the_loss():
    """Without spikes there is nothing to stand for: the gradient must be the loss's slope."""
    rng = np.random.default_rng(5)
    learner = SpikingLearner(
        Shape(6, 6, 2),
        [LayerPlan(channels=4, size=3, stride=2), LayerPlan(channels=7)],
        3,
        NeuronPlan(kind="relu"),
        1,
    )
    below = rng.random((3, 36, padded(2))).astype(F)
    below[:, :, 2:] = 0
    truth = np.eye(3, dtype=F)[[0, 2, 1]]

    def loss():
        sent = learner.forward(below, Activity(learner.layers, 3)).astype(np.float64)
        share = np.exp(sent) / np.exp(sent).sum(axis=1, keepdims=True)
        return -np.log((share * truth).sum(axis=1)).sum(), share

    _, share = loss()
    activity, slopes = Activity(learner.layers, 3), learner.new_slopes()
    learner.forward(below, activity)
    learner.backward(below, (share - truth).astype(F), activity, learner.turned(), slopes)
    for k, layer in enumerate(learner.layers):
        for values, slope in ((layer.table, slopes[2 * k]), (layer.bias, slopes[2 * k + 1])):
            for i in rng.choice(np.flatnonzero(slope), 6):
                kept = values[i]
                values[i] = kept + F(2e-3)
                up, _ = loss()
                values[i] = kept - F(2e-3)
                down, _ = loss()
                values[i] = kept
                assert (up - down) / 4e-3 == pytest.approx(slope[i], rel=0.05, abs=2e-3)


def test_memory_does_not_grow_with_the_steps():
    """What training holds between two steps is one step's activity, whatever their number."""
    learner = SpikingLearner(Shape(8, 8, 2), [LayerPlan(channels=4, size=3)], 3, NeuronPlan(), 1)
    activity = Activity(learner.layers, 2)
    before = activity.bytes
    below = np.ones((2, 64, padded(2)), F)
    for _ in range(50):
        learner.forward(below, activity)
    assert activity.bytes == before
    assert set(vars(activity)) == {"x", "u", "s", "psi"}
