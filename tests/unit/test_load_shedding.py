"""A realtime stream's decisions, against a queue that is computed."""

import numpy as np
import pytest

from service.streams.load_shedding import LoadShedder

BOUND = 0.1


def run(pace, seconds, every_s, cost_s, units=100):
    """Frames that come every so often and take ``cost_s(now, stride)``: (latencies, shed, strides)."""
    latencies, shed, strides, free, now = [], 0, [], 0.0, 0.0
    for i in range(int(seconds / every_s)):
        came = i * every_s
        now = max(free, came)
        sheds = pace.sheds(now - came, units)
        stride = pace.step(now, now - came, sheds)
        strides.append(stride)
        if sheds:
            pace.shed()
            shed += 1
            continue
        took = cost_s(now, stride)
        pace.worked(units, took)
        free = now + took
        latencies.append(free - came)
    return np.array(latencies), shed, strides


def test_what_fits_is_neither_shed_nor_thinned():
    latencies, shed, strides = run(LoadShedder(BOUND, 16), 20, 0.01, lambda _, __: 0.008)
    assert shed == 0
    assert set(strides) == {1}
    assert max(latencies) < 0.01


@pytest.mark.parametrize("times", [1.2, 2, 4, 6])
def test_the_bound_holds_whatever_comes(times):
    rng = np.random.default_rng(0)
    pace = LoadShedder(BOUND)
    latencies, shed, _ = run(pace, 30, 0.01, lambda _, __: 0.01 * times * rng.uniform(0.8, 1.2))
    assert max(latencies) < BOUND
    assert shed / 3000 == pytest.approx(1 - 1 / times, abs=0.1)


def test_evaluation_goes_first_and_nothing_is_shed_where_that_is_enough():
    latencies, shed, strides = run(LoadShedder(BOUND, 16), 60, 0.01, lambda _, stride: 0.002 + 0.038 / stride)
    assert shed / 6000 < 0.01  # while the strides were found
    assert max(latencies) < BOUND
    assert 8 in strides[3000:]


def test_what_is_left_is_shed_at_the_longest_stride():
    latencies, shed, strides = run(LoadShedder(BOUND, 4), 60, 0.01, lambda _, stride: 0.09 / stride)
    assert strides[-1] == 4
    assert 0.5 < shed / 6000 < 0.6
    assert max(latencies) < BOUND


def test_evaluation_comes_back_when_the_load_has_gone():
    _, shed, strides = run(
        LoadShedder(BOUND, 16), 60, 0.01, lambda now, stride: (0.04 if now < 10 else 0.004) / stride
    )
    assert strides[-1] == 1
    assert max(strides) >= 4
    assert shed < 20


def test_trials_of_a_shorter_stride_become_rare_where_they_fail():
    _, _, strides = run(LoadShedder(BOUND, 16), 600, 0.01, lambda _, stride: 0.03 / stride)
    changes = np.flatnonzero(np.diff(strides))
    assert len(changes[changes > 30_000]) < 20


def test_one_dear_frame_does_not_shut_the_door_for_ever():
    pace = LoadShedder(BOUND)
    pace.worked(100, 5.0)
    latencies, shed, _ = run(pace, 20, 0.01, lambda _, __: 0.002)
    assert shed < 200
    assert max(latencies[-100:]) < 0.01
