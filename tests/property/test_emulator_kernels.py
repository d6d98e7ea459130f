import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.sources.emulator import Emulator, EmulatorConfig
from tests.reference import emulator as naive

clips = hnp.arrays(np.uint8, st.tuples(st.integers(2, 5), st.just(3), st.just(4)))


@given(clips, st.sampled_from([0, 300, 20_000]), st.sampled_from([0.1531, 0.2339]))
def test_interpolated_events_equal_the_twin(frames, refractory_us, theta_off):
    times = [i * 0.01 for i in range(len(frames))]
    config = EmulatorConfig(theta_on=0.2137, theta_off=theta_off, refractory_us=refractory_us)
    emulator = Emulator(config, 4, 3)
    parts = [emulator.feed(frame, t) for frame, t in zip(frames, times, strict=True)]
    assert all(np.all(np.diff(part[0]) >= 0) for part in parts)
    t, x, y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    theirs = naive.interpolated(frames.tolist(), times, 0.2137, theta_off, refractory_us)
    ours = sorted(zip(x.tolist(), y.tolist(), t.tolist(), p.tolist(), strict=True))
    theirs = sorted((x_, y_, t_, p_) for t_, x_, y_, p_ in theirs)
    assert [(x_, y_, p_) for x_, y_, _, p_ in ours] == [(x_, y_, p_) for x_, y_, _, p_ in theirs]
    # float32 levels against float64: the time of a crossing moves by far less than a frame
    assert all(abs(a[2] - b[2]) <= 20 for a, b in zip(ours, theirs, strict=True))


@given(clips)
def test_both_timings_give_the_same_events_but_for_their_times(frames):
    counts = []
    for timing in ("interpolated", "compatible"):
        emulator = Emulator(EmulatorConfig(timing=timing), 4, 3)
        parts = [emulator.feed(frame, i * 0.02) for i, frame in enumerate(frames)]
        counts.append([sorted(zip(*(c.tolist() for c in part[1:]), strict=True)) for part in parts])
    assert counts[0] == counts[1]
