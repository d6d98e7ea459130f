import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.networks import neurons, synapses
from kernels.networks.neurons import Layer
from kernels.networks.synapses import Shape, Spikes
from tests.property.strategies import cuts
from tests.reference import spiking as naive

MODELS = ("linear", "threshold", "lif", "cuba", "alif")
RESETS = ("none", "hard", "subtract", "delayed_hard", "delayed_clear", "delayed_subtract", "residual")


def some_spikes(rng, steps, inputs, rate, graded=False):
    """A chunk of spikes, and the same as [step, input]."""
    dense = (rng.random((steps, inputs)) < rate).astype(np.float32)
    if graded:
        dense *= rng.integers(1, 4, dense.shape)
    return as_spikes(dense), dense


def as_spikes(dense):
    step, index = np.nonzero(dense)
    offsets = np.searchsorted(step, np.arange(len(dense) + 1)).astype(np.int64)
    return Spikes(offsets, index.astype(np.int32), dense[step, index])


def as_dense(spikes, size):
    out = np.zeros((spikes.steps, size), np.float32)
    step = np.repeat(np.arange(spikes.steps), np.diff(spikes.offsets))
    out[step, spikes.index] = spikes.value
    return out


def part(spikes, a, b):
    first, last = spikes.offsets[a], spikes.offsets[b]
    return Spikes(spikes.offsets[a : b + 1] - first, spikes.index[first:last], spikes.value[first:last])


@st.composite
def populations(draw, model=None):
    """Weights that make exact sums, so that only the neurons' arithmetic is looked at."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    model = model or draw(st.sampled_from(MODELS))
    reset = draw(st.sampled_from(RESETS[:3] if model in {"alif", "threshold", "linear"} else RESETS))
    sites, channels = draw(st.sampled_from([(1, 1), (1, 10), (70, 3), (5, 16)]))
    many = reset == "subtract" and draw(st.booleans())

    def some(low, high):
        return rng.uniform(low, high, (sites, channels) if draw(st.booleans()) else channels)

    level = some(0.3, 1.5)
    values = {
        "decay": some(0.5, 1.0),
        "gain": some(0.2, 1.0),
        "constant": some(-0.1, 0.1) * draw(st.booleans()),
        "threshold": level,
        "reset_to": level if "subtract" in reset else some(-0.2, 0.2),
        "floor": -0.5 if draw(st.booleans()) else -np.inf,
        "syn_decay": some(0.3, 0.95),
        "syn_gain": some(0.5, 1.0),
        "bias": some(-0.1, 0.1) * draw(st.booleans()),
        "adapt_decay": some(0.8, 0.99),
        "adapt_step": some(0.1, 0.5),
    }
    made = neurons.neurons(
        model, channels, sites=sites, reset=reset, non_strict=draw(st.booleans()), many=many,
        sends_potential=draw(st.booleans()) and model not in {"threshold"}, **values,
    )  # fmt: skip
    return made, Shape(sites, 1, channels), values, rng


def twin(made, shape, values, start=0.0):
    spread = {
        name: np.broadcast_to(np.asarray(value, np.float32), (shape.sites, shape.channels)).ravel()
        for name, value in values.items()
    }
    return naive.Layer(
        made.model, made.reset, made.non_strict, made.many, made.sends_potential, spread, start
    )


@settings(max_examples=150)
@given(populations(), st.data())
def test_neurons_equal_the_twin_lazy_or_clocked_however_it_is_cut(population, data):
    made, shape, values, rng = population
    steps = 40
    rate = data.draw(st.sampled_from([0.02, 0.3]))
    weights = (rng.integers(-8, 16, (shape.channels, 6)) / 8).astype(np.float32)
    weights = np.tile(weights, (shape.sites, 1)).reshape(shape.sites, shape.channels, 6)
    spikes, given_ = some_spikes(rng, steps, 6 * shape.sites, rate)
    # Each site has six inputs of its own: a convolution of one tap.
    source = Shape(shape.height, 1, 6)
    layer = Layer(
        synapses.synapses([synapses.convolution(weights[0][:, :, None, None], source)], shape), made
    )
    expected, one = [], twin(made, shape, values)
    for step in given_:
        arriving = step.reshape(shape.sites, 6) @ weights[0].T
        expected.append(one.step(arriving.ravel()))
    for lazy in (False, True):
        state, found = neurons.new_state(layer), []
        for a, b in itertools.pairwise(data.draw(cuts(steps))):
            sent = neurons.advance(layer, state, part(spikes, a, b), lazy)
            found.append(as_dense(sent, layer.size))
        np.testing.assert_array_equal(np.concatenate(found), np.array(expected))


@settings(max_examples=60)
@given(st.data())
def test_convolutions_equal_the_twin(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = draw(st.sampled_from([1, 2]))
    inner, outer = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3))
    height, width = draw(st.integers(3, 6)), draw(st.integers(3, 7))
    size, stride, pad, dilation = (
        (draw(st.integers(low, high)), draw(st.integers(low, high)))
        for low, high in ((1, 3), (1, 2), (0, 2), (1, 2))
    )
    out = tuple(
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, p, d, k, s in zip((height, width), pad, dilation, size, stride, strict=True)
    )
    if min(out) < 1:
        return
    weight = rng.integers(-5, 6, (outer, inner // groups, *size)).astype(np.float32)
    source, target = Shape(height, width, inner), Shape(*out, outer)
    layer = Layer(
        synapses.synapses([synapses.convolution(weight, source, stride, pad, dilation, groups)], target),
        neurons.neurons("linear", outer),
    )
    spikes, dense = some_spikes(rng, 3, source.size, 0.3, graded=True)
    found = as_dense(neurons.advance(layer, neurons.new_state(layer), spikes), target.size)
    for step, sent in zip(dense, found, strict=True):
        image = step.reshape(height, width, inner).transpose(2, 0, 1)
        expected = naive.convolve(image, weight, stride, pad, dilation, groups, out)
        np.testing.assert_array_equal(sent.reshape(*out, outer).transpose(2, 0, 1), expected)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 7), st.data())
def test_several_sources_and_delays_equal_the_twin(seed, longest, data):
    """Two sources, dense, each synapse with a delay of its own."""
    rng = np.random.default_rng(seed)
    steps, sizes, outputs = 30, (5, 8), 6
    weights = [rng.integers(-4, 8, (outputs, n)).astype(np.float32) / 8 for n in sizes]
    delays = [rng.integers(0, longest + 1, (outputs, n)).astype(np.int16) for n in sizes]
    made = neurons.neurons("lif", outputs, reset="hard", decay=0.8, threshold=0.9)
    layer = Layer(
        synapses.synapses(
            [synapses.dense(w, delay=d) for w, d in zip(weights, delays, strict=True)],
            Shape(1, 1, outputs),
        ),
        made,
    )
    parts = [some_spikes(rng, steps, n, 0.2) for n in sizes]
    one = twin(
        made,
        Shape(1, 1, outputs),
        {name: made.coefficient[i, 0, :outputs] for i, name in enumerate(neurons.COEFFICIENTS)},
    )
    expected = []
    for now in range(steps):
        arriving = np.zeros(outputs)
        for (_, dense), w, d in zip(parts, weights, delays, strict=True):
            for o, n in np.ndindex(w.shape):
                if now - d[o, n] >= 0:
                    arriving[o] += w[o, n] * dense[now - d[o, n], n]
        expected.append(one.step(arriving))
    state, found = neurons.new_state(layer), []
    for a, b in itertools.pairwise(data.draw(cuts(steps))):
        both = synapses.merged([(0, part(parts[0][0], a, b)), (sizes[0], part(parts[1][0], a, b))])
        found.append(as_dense(neurons.advance(layer, state, both), outputs))
    np.testing.assert_array_equal(np.concatenate(found), np.array(expected))


def test_a_dense_layer_reads_a_grid_in_the_frameworks_order():
    rng = np.random.default_rng(0)
    source, weight = Shape(2, 3, 4), rng.integers(-5, 5, (7, 24)).astype(np.float32)
    layer = Layer(
        synapses.synapses([synapses.dense(weight, source)], Shape(1, 1, 7)), neurons.neurons("linear", 7)
    )
    image = rng.integers(0, 3, (4, 2, 3)).astype(np.float32)  # channel, y, x
    spikes = as_spikes(image.transpose(1, 2, 0).reshape(1, -1))
    found = as_dense(neurons.advance(layer, neurons.new_state(layer), spikes), 7)
    np.testing.assert_array_equal(found[0], weight @ image.ravel())


def test_pooling_sums_and_averages():
    source = Shape(4, 4, 2)
    image = np.arange(32, dtype=np.float32).reshape(4, 4, 2)
    for average, expected in ((False, 1.0), (True, 0.25)):
        layer = Layer(
            synapses.synapses([synapses.pooling(source, (2, 2), (2, 2), average=average)], Shape(2, 2, 2)),
            neurons.neurons("linear", 2),
        )
        found = as_dense(neurons.advance(layer, neurons.new_state(layer), as_spikes(image.reshape(1, -1))), 8)
        summed = image.reshape(2, 2, 2, 2, 2).sum(axis=(1, 3))
        np.testing.assert_array_equal(found[0], (summed * expected).ravel())


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.booleans())
def test_one_to_one_scales_and_delays_each_neuron(seed, delayed):
    rng = np.random.default_rng(seed)
    source = Shape(3, 2, 5)
    weight = rng.integers(-4, 5, (6, 5)).astype(np.float32)
    delay = rng.integers(0, 4, (6, 5)).astype(np.int16) if delayed else np.zeros((6, 5), np.int16)
    one = synapses.one_to_one(source, weight, delay if delayed else None)
    layer = Layer(synapses.synapses([one], source), neurons.neurons("linear", 5))
    spikes, dense = some_spikes(rng, 9, source.size, 0.3, graded=True)
    found = as_dense(neurons.advance(layer, neurons.new_state(layer), spikes), source.size)
    expected = np.zeros_like(dense)
    for step, n in zip(*np.nonzero(dense), strict=True):
        if step + delay.ravel()[n] < 9:
            expected[step + delay.ravel()[n], n] += dense[step, n] * weight.ravel()[n]
    np.testing.assert_array_equal(found, expected)


def test_work_follows_the_spikes():
    """A layer that nothing arrives at is not touched, however long that takes."""
    layer = Layer(
        synapses.synapses([synapses.convolution(np.ones((4, 1, 3, 3), np.float32), Shape(32, 32, 1), pad=(1, 1))], Shape(32, 32, 4)),
        neurons.neurons("lif", 4, reset="subtract", decay=0.9, threshold=20.0),
    )  # fmt: skip
    state = neurons.new_state(layer)
    quiet = Spikes(np.zeros(1001, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    neurons.advance(layer, state, quiet)
    assert state.counts[neurons.UPDATES] == 0
    one = Spikes(np.array([0, 1]), np.array([500], np.int32), np.ones(1, np.float32))
    neurons.advance(layer, state, one)
    assert state.counts.tolist() == [1, 36, 36, 0, 1001]


@pytest.mark.parametrize("model", ["lif", "cuba", "alif"])
def test_what_was_forgotten_is_as_new(model):
    rng = np.random.default_rng(1)
    layer = Layer(
        synapses.synapses([synapses.dense(rng.random((5, 9)).astype(np.float32))], Shape(1, 1, 5)),
        neurons.neurons(model, 5, reset="hard", decay=0.7, syn_decay=0.5, adapt_decay=0.9, adapt_step=0.2),
        start=0.25,
    )
    spikes, _ = some_spikes(rng, 30, 9, 0.3)
    state = neurons.new_state(layer)
    first = neurons.advance(layer, state, spikes)
    neurons.forget(layer, state)
    again = neurons.advance(layer, state, spikes)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not lead"):
        synapses.synapses([synapses.dense(np.ones((3, 4), np.float32))], Shape(1, 1, 2))
    with pytest.raises(ValueError, match="none of"):
        neurons.neurons("lif", 3, threshhold=1.0)
