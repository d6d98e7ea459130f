import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.networks import encoding
from tests.property.strategies import cuts, recordings
from tests.property.test_neuron_kernels import as_dense
from tests.reference import encoding as naive

SIZE = 16, 12


@settings(max_examples=80)
@given(
    recordings(max_events=60, max_step_us=4000), st.sampled_from([1, 2]), st.sampled_from([1, 3]),
    st.sampled_from([500, 4000]), st.data(),
)  # fmt: skip
def test_steps_of_time_equal_the_twin_however_it_is_cut(columns, polarities, most, step_us, data):
    t = columns[0]
    until = int(t[-1]) // step_us + data.draw(st.integers(0, 5)) if len(t) else 9
    inputs = SIZE[0] * SIZE[1] * polarities
    encoder, found, events, ends = encoding.new_encoder(inputs), [], [], []
    places = data.draw(cuts(len(t)))
    for a, b in itertools.pairwise(places):
        part = tuple(column[a:b] for column in columns)
        # What is known to be complete: no later event belongs to a step before this one.
        known = min(int(t[b]) // step_us if b < len(t) else until, until)
        got = encoding.by_time(*part, encoder, SIZE[0], polarities, most, step_us, known)
        found.append(as_dense(got.spikes, inputs))
        events.append(got.events)
        ends.append(got.end)
    expected = naive.by_time(*columns, *SIZE, polarities, most, step_us, until)
    if expected is None:
        assert sum(len(part) for part in found) == 0
        return
    first, steps, counts = expected
    np.testing.assert_array_equal(np.concatenate(found), steps)
    np.testing.assert_array_equal(np.concatenate(events), counts)
    np.testing.assert_array_equal(np.concatenate(ends), (first + 1 + np.arange(len(steps))) * step_us)


@settings(max_examples=60)
@given(recordings(max_events=60), st.sampled_from([1, 2]), st.integers(1, 9), st.data())
def test_steps_of_events_equal_the_twin_however_it_is_cut(columns, polarities, step_events, data):
    inputs = SIZE[0] * SIZE[1] * polarities
    encoder, found, ends = encoding.new_encoder(inputs), [], []
    for a, b in itertools.pairwise(data.draw(cuts(len(columns[0])))):
        part = tuple(column[a:b] for column in columns)
        got = encoding.by_count(*part, encoder, SIZE[0], polarities, 2, step_events)
        found.append(as_dense(got.spikes, inputs))
        ends.append(got.end)
    expected = naive.by_count(*columns[1:], *SIZE, polarities, 2, step_events)
    np.testing.assert_array_equal(np.concatenate(found), expected)
    np.testing.assert_array_equal(
        np.concatenate(ends), columns[0][step_events - 1 :: step_events][: len(expected)]
    )
    rest = len(columns[0]) - len(expected) * step_events
    assert encoding.close(encoder, 10**6).value.sum() == rest
