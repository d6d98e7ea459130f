"""The reference simulator's own events, matched event for event in `compatible` mode."""

import json

import numpy as np
import pytest

from pipeline.sources.emulator import Emulator, EmulatorConfig

DETERMINISTIC = [
    "bar_30fps_refractory_0.5ms",
    "bar_clean",
    "bar_refractory_2ms",
    "saccade_cutoff_30hz",
    "staircase_1x4",
    "static_leak_10hz",
]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_compatible_mode_equals_v2e(data_dir, name):
    reference = np.load(data_dir / "v2e" / f"{name}.npz")
    settings = json.loads(str(reference["settings"]))
    config = EmulatorConfig(
        theta_on=settings["pos_thres"],
        theta_off=settings["neg_thres"],
        cutoff_hz=settings["cutoff_hz"],
        leak_hz=settings["leak_rate_hz"],
        refractory_us=round(settings["refractory_period_s"] * 1e6),
        timing="compatible",
    )
    frames = reference["frames"]
    emulator = Emulator(config, frames.shape[2], frames.shape[1])
    if "pos_thres" in reference:
        emulator.set_thresholds(reference["pos_thres"], reference["neg_thres"])
    parts = [emulator.feed(f, float(s)) for f, s in zip(frames, reference["times"], strict=True)]
    assert [len(part[0]) for part in parts] == reference["per_frame_counts"].tolist()
    t, x, y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    theirs = reference["events_sorted"]
    their_t = np.rint(theirs[:, 0].astype(np.float64) * 1e6).astype(np.int64)
    ours_by_pixel = np.lexsort((t, x, y))
    theirs_by_pixel = np.lexsort((their_t, theirs[:, 1], theirs[:, 2]))
    ours = np.stack([x, y, np.where(p, 1, -1)], axis=1)
    np.testing.assert_array_equal(ours[ours_by_pixel], theirs[theirs_by_pixel, 1:])
    assert np.abs(t[ours_by_pixel] - their_t[theirs_by_pixel]).max() <= 1
    np.testing.assert_array_equal(emulator.base, reference["final_base_log"])


@pytest.mark.parametrize("timing", ["compatible", "interpolated"])
def test_shot_noise_has_the_rate_of_v2e(data_dir, timing):
    reference = np.load(data_dir / "v2e" / "ramp_shot_5hz.npz")
    frames, times = reference["frames"], reference["times"]
    rates = []
    for seed in range(4):
        emulator = Emulator(EmulatorConfig(shot_hz=5, timing=timing, seed=seed), 128, 128)
        parts = [emulator.feed(frame, float(s)) for frame, s in zip(frames, times, strict=True)]
        rates.append(sum(len(part[0]) for part in parts) / len(reference["events_sorted"]))
    assert np.mean(rates) == pytest.approx(1, rel=0.02)
