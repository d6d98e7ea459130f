import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.learning import plasticity
from kernels.networks import complexity, reservoir
from kernels.networks.reservoir import Rules, State
from tests.property.strategies import cuts
from tests.property.test_neuron_kernels import as_dense, part, some_spikes
from tests.reference import plasticity as naive_plasticity
from tests.reference import reservoir as naive


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.booleans(), st.booleans(), st.data())
def test_the_reservoir_equals_its_twin_however_it_is_cut(seed, balancing, pairing, data):
    rng = np.random.default_rng(seed)
    rules = Rules(
        eta=0.05 * balancing, a_plus=0.01 * pairing, astro_gain=1e-3, astro_base=0.01, threshold=0.6
    )
    given_ = reservoir.new_weights(12, 15, seed % 1000, density=0.4, inputs_each=6, gain=2.0)
    mine, theirs = (type(given_)(*(array.copy() for array in given_)) for _ in range(2))
    spikes, dense = some_spikes(rng, 20, 12, 0.3)
    state = reservoir.new_state(15, 0.05)
    expected, other = [], tuple(column.copy() for column in state)
    for row in dense:
        now, other = naive.step(row, theirs, other, rules)
        expected.append(now)
    found = []
    for a, b in itertools.pairwise(data.draw(cuts(20))):
        found.append(as_dense(reservoir.advance(part(spikes, a, b), mine, state, rules), 15))
    np.testing.assert_array_equal(np.concatenate(found) > 0, np.array(expected))
    np.testing.assert_allclose(mine.own, theirs.own, rtol=1e-6, atol=1e-7)
    for one, two in zip(state, other, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


def test_balance_brings_rates_to_their_target():
    rng = np.random.default_rng(1)
    weights = reservoir.new_weights(60, 100, 1, density=0.2, gain=4.0)
    rules = Rules(target=0.1, eta=0.02)
    state = reservoir.new_state(100, 0.1)
    spikes, _ = some_spikes(rng, 4000, 60, 0.2)
    before = as_dense(reservoir.advance(part(spikes, 0, 300), weights, state, rules._replace(eta=0.0)), 100)
    reservoir.advance(spikes, weights, state, rules)
    after = as_dense(reservoir.advance(part(spikes, 0, 1000), weights, state, rules), 100)
    off = [np.abs(rate.mean(axis=0) - 0.1).mean() for rate in (before, after)]
    assert off[1] < 0.5 * off[0]


def test_rest_keeps_what_was_learned():
    state = State(*(np.ones(3, kind) for kind in (np.float32, np.bool_, np.float32, np.float32, np.float32)))
    reservoir.rest(state)
    assert not state.v.any()
    assert not state.sent.any()
    assert state.rate.all()


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_symmetric_stdp_equals_its_twin(seed):
    rng = np.random.default_rng(seed)
    weight = rng.random((5, 9)).astype(np.float32)
    before, after = rng.random(9).astype(np.float32), rng.random(5).astype(np.float32) * (rng.random(5) < 0.6)
    arrived = np.flatnonzero(rng.random(9) < 0.4).astype(np.int32)
    fired = np.flatnonzero(rng.random(5) < 0.4).astype(np.int32)
    expected = naive_plasticity.pair(arrived, fired, before, after.astype(np.float32), weight, 0.1, 0.3, 1.0)
    plasticity.pair(arrived, fired, before, after.astype(np.float32), weight, 0.1, 0.3, 1.0)
    np.testing.assert_array_equal(weight, expected)
    plasticity.scale(weight, 3.0)
    np.testing.assert_allclose(weight.sum(axis=1), 3.0, rtol=1e-5)


@settings(max_examples=150)
@given(st.lists(st.integers(0, 1), max_size=60))
def test_words_equal_the_twin(train):
    bits = np.array(train, np.uint8)
    assert complexity.words(bits) == naive_plasticity.words(train)


def test_regular_trains_are_simple_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    trains = np.stack([np.zeros(500), np.arange(500) % 2, rng.integers(0, 2, 500)]).astype(np.uint8)
    out = np.empty(3, np.float32)
    complexity.complexity(trains, out)
    assert out[0] < 0.05
    assert out[1] < 0.06
    assert 0.9 < out[2] < 1.2
