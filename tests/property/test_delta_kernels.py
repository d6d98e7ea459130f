import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels._lanes import padded
from kernels.networks import delta, synapses
from kernels.networks.synapses import Shape, Spikes
from tests.property.strategies import cuts
from tests.property.test_neuron_kernels import as_dense, as_spikes, part
from tests.reference import delta as naive


def a_layer(rng, source, channels, stride=(1, 1), pad=(1, 1), relu=True, **more):
    """A 3 x 3 convolution of whole numbers, its grid, and what the twin needs."""
    weight = rng.integers(-7, 8, (channels, source.channels, 3, 3)).astype(np.float32)
    shape = tuple(
        (side + 2 * p - 3) // s + 1
        for side, p, s in zip((source.height, source.width), pad, stride, strict=True)
    )
    target = Shape(*shape, channels)
    bias, multiplier = np.zeros(padded(channels), np.float32), np.zeros(padded(channels), np.float32)
    bias[:channels] = rng.integers(-20, 21, channels)
    multiplier[:channels] = rng.uniform(0.02, 0.2, channels)
    made = delta.Layer(
        synapses.synapses([synapses.convolution(weight, source, stride, pad)], target), bias, multiplier,
        0.0 if relu else -15.0, 15.0, **more,
    )  # fmt: skip
    rest = (weight, bias[:channels], multiplier[:channels], made.low, made.top, stride, pad, shape)
    return made, target, rest


def slowly(rng, steps, size, share):
    """Levels that change here and there, [step, neuron], and their changes."""
    levels = np.zeros((steps, size), np.float32)
    now = np.zeros(size, np.float32)
    for step in range(steps):
        moved = rng.random(size) < share
        now = np.where(moved, rng.integers(0, 16, size), now).astype(np.float32)
        levels[step] = now
    return levels, np.diff(levels, axis=0, prepend=np.zeros((1, size), np.float32))


def image(row, shape):
    return row.reshape(shape.height, shape.width, shape.channels).transpose(2, 0, 1).astype(np.int64)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([1, 3, 9, 20]), st.data())
def test_changes_add_up_to_the_dense_network_however_it_is_cut(seed, relu, channels, data):
    rng = np.random.default_rng(seed)
    source = Shape(6, 5, data.draw(st.integers(1, 3)))
    stride = data.draw(st.sampled_from([(1, 1), (2, 1)]))
    layer, target, rest = a_layer(rng, source, channels, stride, relu=relu)
    steps = 12
    levels, moves = slowly(rng, steps, source.size, data.draw(st.sampled_from([0.02, 0.4])))
    state, sent = delta.new_state(layer), []
    for a, b in itertools.pairwise(data.draw(cuts(steps))):
        sent.append(as_dense(delta.advance(layer, state, part(as_spikes(moves), a, b)), layer.size))
    found = np.cumsum(np.concatenate(sent), axis=0)
    for row, given_ in zip(found, levels, strict=True):
        np.testing.assert_array_equal(image(row, target), naive.layer(image(given_, source), *rest))


@settings(max_examples=30)
@given(
    st.integers(0, 2**32), st.sampled_from([(2, 2), (3, 3)]), st.sampled_from([(1, 1), (2, 2)]), st.booleans()
)
def test_pooled_changes_add_up_to_the_pooled_levels(seed, size, stride, padding):
    rng = np.random.default_rng(seed)
    source, pad = Shape(7, 6, 3), (1, 1) if padding and size == (3, 3) else (0, 0)
    shape = tuple(
        (side + 2 * p - k) // s + 1 for side, p, k, s in zip((7, 6), pad, size, stride, strict=True)
    )
    pool = delta.MaxPool(source, Shape(*shape, 3), size, stride, pad)
    levels, moves = slowly(rng, 10, source.size, 0.2)
    found = np.cumsum(
        as_dense(delta.advance_pool(pool, delta.new_pool_state(pool), as_spikes(moves)), pool.target.size),
        axis=0,
    )
    for row, given_ in zip(found, levels, strict=True):
        expected = naive.max_pool(image(given_, source), size, stride, pad, shape)
        np.testing.assert_array_equal(image(row, pool.target), expected)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(2, 5), st.booleans())
def test_what_was_sent_stays_within_the_threshold_and_slow_ramps_are_sent(seed, threshold, carry):
    rng = np.random.default_rng(seed)
    source = Shape(4, 4, 1)
    layer, _, _ = a_layer(rng, source, 3, threshold=threshold, carry=carry)
    plain, _, _ = a_layer(np.random.default_rng(seed), source, 3)
    ramp = np.minimum(np.arange(60) // 4, 15).astype(np.float32)[:, None] * np.ones((1, 16), np.float32)
    moves = as_spikes(np.diff(ramp, axis=0, prepend=np.zeros((1, 16), np.float32)))
    sent = as_dense(delta.advance(layer, delta.new_state(layer), moves), layer.size)
    whole = np.cumsum(as_dense(delta.advance(plain, delta.new_state(plain), moves), layer.size), axis=0)
    assert np.abs(np.cumsum(sent, axis=0) - whole).max() < threshold
    assert (np.abs(sent[sent != 0]) >= threshold).all()
    if carry:
        assert (sent % threshold == 0).all()


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 10))
def test_a_receiver_that_joins_late_is_brought_up_to_date_by_a_keyframe(seed, joins):
    rng = np.random.default_rng(seed)
    source = Shape(5, 5, 2)
    first, grid, _ = a_layer(rng, source, 4)
    second, _, _ = a_layer(rng, grid, 6)
    _, moves = slowly(rng, 12, source.size, 0.2)
    moves = as_spikes(moves)
    sender, early, late = delta.new_state(first), delta.new_state(second), delta.new_state(second)
    delta.advance(second, early, delta.advance(first, sender, part(moves, 0, joins)))
    delta.advance(second, late, delta.keyframe(first, sender))
    np.testing.assert_array_equal(late.z, early.z)
    np.testing.assert_array_equal(late.sent, early.sent)
    rest = delta.advance(first, sender, part(moves, joins, 12))
    a, b = delta.advance(second, early, rest), delta.advance(second, late, rest)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_does_not_change_costs_nothing():
    layer, _, _ = a_layer(np.random.default_rng(0), Shape(20, 20, 4), 8)
    state = delta.new_state(layer)
    quiet = Spikes(np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    delta.advance(layer, state, quiet)
    looked_at = state.counts[delta.UPDATES]
    for _ in range(100):
        delta.advance(layer, state, quiet)
    assert state.counts[delta.UPDATES] == looked_at == layer.size
    assert state.counts[delta.ADDITIONS] == 0


def test_the_largest_sum_bounds_what_is_exact():
    layer, _, (weight, bias, *_) = a_layer(np.random.default_rng(3), Shape(5, 5, 2), 3)
    expected = (np.abs(weight).sum(axis=(1, 2, 3)) * 15 + np.abs(bias)).max()
    assert delta.largest_sum(layer.synapses, layer.bias, 15) == pytest.approx(expected)
