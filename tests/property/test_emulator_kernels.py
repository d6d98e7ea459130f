import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.video import photoreceptor as light
from pipeline.sources.emulator import PRESETS, Emulator, EmulatorConfig
from tests.reference import emulator as naive

clips = hnp.arrays(np.uint8, st.tuples(st.integers(2, 5), st.just(3), st.just(4)))


def run(config, frames, times):
    emulator = Emulator(config, frames[0].shape[1], frames[0].shape[0])
    parts = [emulator.feed(frame, t) for frame, t in zip(frames, times, strict=True)]
    return emulator, parts


def assert_equals_the_twin(config, frames, within_us):
    times = [i * 0.01 for i in range(len(frames))]
    emulator, parts = run(config, frames, times)
    assert all(np.all(np.diff(part[0]) >= 0) for part in parts)
    t, x, y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    theirs = naive.run(config, frames.tolist(), times, emulator.leak_hz.tolist())
    # By pixel and polarity, then time: an ON and an OFF event within a us of each other may be rounded past each other.
    ours = sorted(zip(x.tolist(), y.tolist(), p.tolist(), t.tolist(), strict=True))
    theirs = sorted((x_, y_, p_, t_) for t_, x_, y_, p_ in theirs)
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    # float32 levels against float64: the time of a crossing moves by far less than a frame
    assert all(abs(a[3] - b[3]) <= within_us for a, b in zip(ours, theirs, strict=True))


@given(clips, st.sampled_from([0, 300, 20_000]), st.sampled_from([0.1531, 0.2339]))
def test_interpolated_events_equal_the_twin(frames, refractory_us, theta_off):
    config = EmulatorConfig(theta_on=0.2137, theta_off=theta_off, refractory_us=refractory_us)
    assert_equals_the_twin(config, frames, 20)


@given(clips, st.integers(0, 2**40), st.sampled_from([0.0, 37.1]), st.booleans())
def test_noise_equals_the_twin(frames, seed, cutoff_hz, photoreceptor):
    config = EmulatorConfig(
        theta_on=0.2137, theta_off=0.1931, seed=seed, cutoff_hz=cutoff_hz, shot_hz=21.7,
        leak_hz=3.13, leak_cov_decades=0.1, photoreceptor_noise=photoreceptor and cutoff_hz > 0,
    )  # fmt: skip
    assert_equals_the_twin(config, frames, 40)


@given(clips)
def test_both_timings_give_the_same_events_but_for_their_times(frames):
    counts = []
    for timing in ("interpolated", "compatible"):
        _, parts = run(EmulatorConfig(timing=timing), frames, [i * 0.02 for i in range(len(frames))])
        counts.append([sorted(zip(*(c.tolist() for c in part[1:]), strict=True)) for part in parts])
    assert counts[0] == counts[1]


def test_the_response_is_linear_below_20_and_logarithmic_above():
    assert [round(naive.response(i), 4) for i in (0, 10, 20, 255)] == [0, 1.4979, 2.9957, 5.5413]
    assert light.LOG_TABLE.tolist() == np.array([naive.response(i) for i in range(256)], np.float32).tolist()
    assert light.LOG_TABLE_16[::257].tolist() == light.LOG_TABLE.tolist()


@pytest.mark.parametrize("name", PRESETS)
def test_16_bit_and_float_frames_of_the_same_light_give_the_same_events(name):
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (6, 8, 9)).astype(np.uint8)
    times = [i * 0.01 for i in range(6)]
    rows = []
    for kind in (
        frames,
        frames.astype(np.uint16) * 257,
        frames.astype(np.float32),
        frames.astype(np.float64),
    ):
        _, parts = run(PRESETS[name], kind, times)
        rows.append([column.tolist() for part in parts for column in part])
    assert rows[0] == rows[1] == rows[2] == rows[3]


def test_seeds_decide_all_and_nothing_else_does():
    frames = np.random.default_rng(1).integers(0, 256, (6, 8, 9)).astype(np.uint8)
    times = [i * 0.01 for i in range(6)]

    def rows(seed):
        _, parts = run(PRESETS["noisy"].model_copy(update={"seed": seed}), frames, times)
        return [column.tolist() for part in parts for column in part]

    assert rows(3) == rows(3)
    assert rows(3) != rows(4)


def rate_hz(config, level, seconds=20.0, dt_s=0.002, size=64):
    """(ON, OFF) events per pixel and second of a scene that stands still; the first fifth is left out."""
    emulator = Emulator(config, size, size)
    frame = np.full((size, size), level, np.uint8)
    n, on, off = round(seconds / dt_s), 0, 0
    for i in range(n):
        t, _, _, p = emulator.feed(frame, i * dt_s)
        if i >= n // 5:
            on, off = on + int(p.sum()), off + len(t) - int(p.sum())
    watched = size * size * (n - n // 5) * dt_s
    return on / watched, off / watched, emulator


@pytest.mark.parametrize("level", [0, 128, 255])
def test_shot_noise_has_the_rate_of_its_formula(level):
    on, off, _ = rate_hz(EmulatorConfig(shot_hz=5), level)
    expected = 5 / 2 * (1 - 0.75 * (level + 20) / 275)
    assert on == pytest.approx(expected, rel=0.02)
    assert off == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("jitter", "decades"), [(0.0, 0.0), (0.1, 0.1), (0.5, 0.3)])
def test_leak_has_the_rate_of_its_formula(jitter, decades):
    config = EmulatorConfig(leak_hz=4, leak_jitter=jitter, leak_cov_decades=decades)
    on, off, emulator = rate_hz(config, 100)
    assert off == 0
    assert on == pytest.approx(emulator.leak_hz.astype(float).mean(), rel=0.02)
    # the mean of a lognormal spread over pixels
    assert emulator.leak_hz.mean() == pytest.approx(4 * np.exp((decades * np.log(10)) ** 2 / 2), rel=0.03)


@pytest.mark.parametrize("dt_s", [0.0002, 0.002, 0.04])
def test_photoreceptor_noise_keeps_its_strength_at_every_frame_rate(dt_s):
    """v2e's own filter diverges at 25 frames a second and 30 Hz."""
    noise = np.zeros((128, 128), np.float32)
    rms = light.noise_rms(5, 30, 0.2)
    for frame in range(400):
        light.photoreceptor_noise(noise, rms, dt_s, 30, 3, frame)
    if dt_s > 0.0005:
        assert noise.astype(float).std() == pytest.approx(rms, rel=0.03)
    assert np.abs(noise).max() < 5 * rms


def test_mismatch_has_the_spread_that_was_asked_for():
    made = Emulator(EmulatorConfig(theta_sigma=0.03), 200, 200)
    theta = (0.2 / made._ratio_on).astype(float)
    assert theta.mean() == pytest.approx(0.2, rel=0.01)
    assert theta.std() == pytest.approx(0.03, rel=0.03)
    assert Emulator(EmulatorConfig(theta_sigma=0.5), 50, 50)._theta_on.min() == np.float32(0.01)


def test_frames_that_do_not_fit_are_refused():
    emulator = Emulator(EmulatorConfig(), 4, 3)
    for frame in (np.zeros((4, 3), np.uint8), np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), np.int64)):
        with pytest.raises(ValueError, match="frames must be grey"):
            emulator.feed(frame, 0.0)
