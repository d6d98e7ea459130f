"""Videos on their way to events: times, depths, sizes, frames between frames."""

import re
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline import packets
from pipeline.offline import engine_for, steps
from pipeline.packets import UNRELIABLE
from pipeline.sensor import Sensor
from pipeline.sources import InputOptions, SourceError, VideoOptions, open_source
from pipeline.sources.emulator import PRESETS
from pipeline.sources.frames import SENSORS, fitted, grey
from pipeline.sources.interpolation import Interpolator
from pipeline.spec import load
from tests.benchmarks import slow_video


def events_of(source):
    return packets.join([reading.events for reading in source.batches()])


def scene(side=256, seed=0):
    rng = np.random.default_rng(seed)
    made = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 3)
    return np.clip(110 + 28 * made / made.std(), 20, 230)


def moved(image, dx, size=(96, 64)):
    matrix = np.float32([[1, 0, -40 + dx], [0, 1, -40]])
    return np.rint(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC)).astype(np.uint8)


def written(path, frames, rate, codec="FFV1", depth=8):
    size, colour = frames[0].shape[1::-1], frames[0].ndim == 3
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, size,
        [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U if depth == 16 else cv2.CV_8U,
         cv2.VIDEOWRITER_PROP_IS_COLOR, int(colour)],
    )  # fmt: skip
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


OFF = VideoOptions(interpolation="off")


def test_16_bit_grey_and_colour_of_the_same_light_give_the_same_events(tmp_path):
    frames = [moved(scene(), i) for i in range(8)]
    made = {
        "grey": written(tmp_path / "a.avi", frames, 200.0),
        "16 bit": written(tmp_path / "b.avi", [f.astype(np.uint16) * 257 for f in frames], 200.0, depth=16),
        "colour": written(tmp_path / "c.avi", [cv2.cvtColor(f, cv2.COLOR_GRAY2BGR) for f in frames], 200.0),
    }
    found = {}
    for name, path in made.items():
        source = open_source(path, video=OFF)
        found[name] = [column.tolist() for column in events_of(source)]
        assert source.info.details["bits"] == (16 if name == "16 bit" else 8)
    assert len(found["grey"][0]) > 1000
    assert found["grey"] == found["16 bit"]
    # the colour file holds 8 bits of each primary in another colour space: almost the same
    assert len(found["colour"][0]) == pytest.approx(len(found["grey"][0]), rel=0.05)


def test_16_bits_see_what_8_cannot(tmp_path):
    """A slope of a third of a grey level a frame, in the dark."""
    ramp = [np.full((32, 32), round(257 * (20 + i / 3)), np.uint16) for i in range(60)]
    times = events_of(open_source(written(tmp_path / "a.avi", ramp, 100.0, depth=16), video=OFF))[0]
    coarse = [(f // 257).astype(np.uint8) for f in ramp]
    steps_8 = events_of(open_source(written(tmp_path / "b.avi", coarse, 100.0), video=OFF))[0]
    assert len(times) == len(steps_8) > 1024
    expected = 3 * 20 * (np.exp(0.2) - 1) * 10_000
    assert abs(times[0] - expected) < 1000 < abs(steps_8[0] - expected)


def variable(path, times_ms):
    """A Matroska file whose frames are stamped with these times."""
    written(path, [moved(scene(), i) for i in range(len(times_ms))], 100.0, codec="MJPG")
    raw, i = bytearray(path.read_bytes()), 0
    for mark in re.finditer(rb"\x81(..)\x80\xff\xd8", raw, re.DOTALL):
        raw[mark.start(1) : mark.end(1)] = struct.pack(">h", times_ms[i])
        i += 1
    assert i == len(times_ms)
    for mark in re.finditer(
        rb"\x1f\x43\xb6\x75.{1,8}?\xe7\x81(.)", raw, re.DOTALL
    ):  # times count from the cluster's
        raw[mark.start(1)] = 0
    path.write_bytes(raw)
    return path


def test_frame_times_come_from_the_container(tmp_path):
    times = [0, 10, 15, 40, 41, 90, 200]
    path = variable(tmp_path / "vfr.mkv", times)
    found = [
        (int(r.events[0][0]), int(r.events[0][-1]))
        for r in open_source(path, video=OFF).batches()
        if len(r.events[0])
    ]
    assert len(found) == 6
    for (first, last), a, b in zip(found, times, times[1:], strict=False):
        assert a * 1000 <= first <= last <= b * 1000
    forced = open_source(path, video=VideoOptions(interpolation="off", frame_rate=1000.0))
    assert int(events_of(forced)[0][-1]) <= 6000


def test_frame_times_that_do_not_rise_are_put_right_and_counted(tmp_path):
    path = variable(tmp_path / "back.mkv", [0, 10, 20, 15, 30, 40])
    source = open_source(path, video=OFF)
    t = events_of(source)[0]
    assert np.all(np.diff(t) >= 0)
    assert source.info.repaired["repaired_frame_times"] >= 1
    source = open_source(path, InputOptions(on_fault="drop"), OFF)
    events_of(source)
    assert source.info.repaired["dropped_frames_without_time"] >= 1
    with pytest.raises(SourceError, match="is stamped"):
        events_of(open_source(path, InputOptions(on_fault="error"), OFF))


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("fit", ["letterbox", "crop"])
def test_frames_are_fitted_to_the_sensors_of_cameras(tmp_path, name, fit):
    path = written(tmp_path / "a.avi", [np.full((48, 96), 40 + 40 * i, np.uint8) for i in range(3)], 100.0)
    source = open_source(path, video=VideoOptions(interpolation="off", camera=name, fit=fit))
    _, x, y, _ = events_of(source)
    sensor = SENSORS[name]
    assert source.info.sensor == sensor
    if fit == "crop":
        assert len(np.unique(x)) == sensor.width
        assert len(np.unique(y)) == sensor.height
    else:  # twice as wide as high, in the middle
        assert len(np.unique(x)) == sensor.width
        assert len(np.unique(y)) == round(sensor.width / 2)
        assert abs(int(y.min()) + int(y.max()) - (sensor.height - 1)) <= 1


def test_fitting_keeps_proportions_and_light():
    frame = np.zeros((100, 200), np.uint8)
    cv2.circle(frame, (100, 50), 40, 200, -1)
    for fit in ("letterbox", "crop"):
        seen = fitted(frame, Sensor(width=64, height=64), fit)
        ys, xs = np.nonzero(seen > 100)
        assert abs((xs.max() - xs.min()) - (ys.max() - ys.min())) <= 1
        assert seen.max() == 200
    assert grey(np.full((4, 4, 3), 90, np.uint8)).tolist() == [[90] * 4] * 4
    assert grey(np.full((4, 4, 4), 90, np.uint16)).dtype == np.uint16


def between(mode, frames, dt_s=0.04):
    made = Interpolator(mode)
    return made, [each for i, frame in enumerate(frames) for each in made.feed(frame, i * dt_s)]


@pytest.mark.parametrize("step", [1.5, 5.0, 9.0])
def test_frames_between_lie_where_the_motion_passes(step):
    image = scene()
    made, seen = between("auto", [moved(image, i * step, (160, 120)) for i in range(4)])
    n = -(-int(np.ceil(step / 2 - 0.2)) // 1)
    assert made.bridging.inserted == len(seen) - 4
    assert abs(len(seen) - (3 * n + 1)) <= 3
    for frame, t in seen:
        truth = moved(image, t / 0.04 * step, (160, 120)).astype(float)
        error = np.abs(frame / 257.0 - truth)[16:-16, 24:-24]
        assert error.mean() < 2.0, t
    times = [t for _, t in seen]
    assert times == sorted(times)
    assert made.bridging.unreliable == []


def test_cuts_are_not_bridged():
    one, other = scene(seed=1), 255 - 0.4 * scene(seed=2)
    frames = [moved(one, 0), moved(one, 4), moved(other, 0), moved(other, 4)]
    made, seen = between("auto", frames)
    assert made.bridging.cuts == 1
    assert made.bridging.unreliable == [(40_000, 80_000)]
    inside = [t for _, t in seen if 0.04 < t < 0.08]
    assert inside == []
    assert made.bridging.inserted >= 2


def test_what_stands_still_is_left_alone():
    made, seen = between("auto", [moved(scene(), 0)] * 5)
    assert (len(seen), made.bridging.inserted, made.bridging.unreliable) == (5, 0, [])


def test_a_fixed_number_of_steps():
    made, seen = between(4, [moved(scene(), 3 * i) for i in range(3)])
    assert [round(t, 4) for _, t in seen] == [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
    assert made.bridging.inserted == 6
    for wrong in (0, 65):
        with pytest.raises(ValueError, match="auto, off or 1 .. 64"):
            Interpolator(wrong)


@pytest.mark.parametrize(("mode", "found", "doubtful"), [("off", False, 1.0), ("auto", True, 0.0)])
def test_slow_video_shows_motion_only_where_frames_are_made_between(tmp_path, mode, found, doubtful):
    path = tmp_path / "a.avi"
    slow_video.film(path, slow_video.texture(), 0.25, 60, 25)
    seen = slow_video.watch(path, 60, mode)
    assert (seen["found"], seen["unreliable"]) == (found, doubtful)


def test_rows_behind_a_cut_are_unreliable_and_no_others(tmp_path):
    one, other = slow_video.texture(3), slow_video.texture(4)
    size = (96, 64)
    frames = [np.rint(one[40:104, 300 - 4 * i : 396 - 4 * i]).astype(np.uint8) for i in range(8)]
    frames += [
        np.rint(255 - 0.4 * other[40:104, 300 - 4 * i : 396 - 4 * i]).astype(np.uint8) for i in range(8)
    ]
    assert frames[0].shape == size[::-1]
    source = open_source(written(tmp_path / "a.avi", frames, 100.0))
    engine = engine_for(source, load("motion"))
    rows = np.concatenate([r.rows for s in steps(engine, source) for r in s.results if r.output == "motion"])
    flagged = (rows["flags"] & UNRELIABLE) > 0
    assert source.info.details["cuts_not_bridged"] == 1
    assert flagged.any()
    assert rows["t"][flagged].min() > 70_000
    assert rows["t"][flagged].max() <= 80_000 + 50_000
    assert not flagged[rows["t"] <= 70_000].any()


def test_an_installed_v2e_is_asked_for_by_name(tmp_path):
    path = written(tmp_path / "a.avi", [moved(scene(), i) for i in range(3)], 100.0)
    with pytest.raises(SourceError, match="v2e is not installed here: clone"):
        open_source(path, video=VideoOptions(model="v2e"))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_sees_a_video_and_gives_the_same_twice(tmp_path, name):
    path = written(tmp_path / "a.avi", [moved(scene(), i) for i in range(6)], 100.0)
    found = [
        [c.tolist() for c in events_of(open_source(path, video=VideoOptions(emulator=PRESETS[name])))]
        for _ in range(2)
    ]
    assert len(found[0][0]) > 100
    assert found[0] == found[1]
    again = open_source(path, video=VideoOptions(emulator=PRESETS[name]))
    assert [len(events_of(again)[0]) for _ in range(2)] == [len(found[0][0])] * 2


def test_memory_is_flat_in_a_video_s_length(tmp_path):
    """Twenty times as many frames take no more memory."""
    peaks = []
    for n in (40, 800):
        path = written(
            tmp_path / f"{n}.avi", [moved(scene(), i % 7, (160, 120)) for i in range(n)], 100.0, "MJPG"
        )
        code = (
            "import sys, resource; from pathlib import Path; from pipeline.sources import open_source\n"
            "n = sum(len(r.events[0]) for r in open_source(Path(sys.argv[1])).batches())\n"
            "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.split()[1]))
    assert peaks[1] < peaks[0] * 1.1
