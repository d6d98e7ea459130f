"""What is built on motif detection: movement of the whole view, the alarm, motion energy beside it."""

import math

import cv2
import numpy as np
import pytest

from pipeline import offline
from pipeline.analysis import analyze
from pipeline.samples import CLIP
from pipeline.sources import open_source
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.spec import preset, validate
from pipeline.training.rendering.images import dead_leaves
from pipeline.training.rendering.motions import Sliding, Turning

WIDTH, HEIGHT, MS = 192, 144, 160
MIDDLE = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def filmed(motion, seed=0):
    """Events of a large picture that moves, a frame each ms."""

    picture = dead_leaves(512, np.random.default_rng(seed), smallest=4)
    picture = cv2.GaussianBlur(picture, (0, 0), 1.0)
    offset = np.array([256.0 - MIDDLE[0], 256.0 - MIDDLE[1]])
    emulator = Emulator(EmulatorConfig(theta_on=0.25, theta_off=0.25), WIDTH, HEIGHT)
    parts = []
    for ms in range(MS):
        matrix = motion.matrix(ms).copy()
        matrix[:, 2] += offset
        frame = cv2.warpAffine(
            picture,
            matrix,
            (WIDTH, HEIGHT),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        parts.append(emulator.feed(frame, ms * 1e-3))
    return tuple(np.concatenate(c) for c in zip(*parts, strict=True))


@pytest.fixture(scope="module")
def answers():
    """What the preset ``egomotion`` says of each movement."""
    moves = {
        "right": Sliding(0.3, 0.0), "up": Sliding(0.0, -0.3),
        "zoom in": Turning(0.004, 0.0, MIDDLE), "zoom out": Turning(-0.004, 0.0, MIDDLE),
        "clockwise": Turning(0.0, 0.005, MIDDLE), "counter-clockwise": Turning(0.0, -0.005, MIDDLE),
    }  # fmt: skip
    return {
        name: offline.run(preset("egomotion"), filmed(motion), (WIDTH, HEIGHT))
        for name, motion in moves.items()
    }


def mean(camera):
    late = camera["t"] > 40_000
    return {
        name: float(np.median(camera[name][late])) for name in ("vx", "vy", "zoom", "rotation", "confidence")
    }


@pytest.mark.parametrize(
    ("name", "key", "sign"),
    [("right", "vx", 1), ("up", "vy", -1), ("zoom in", "zoom", 1), ("zoom out", "zoom", -1),
     ("clockwise", "rotation", 1), ("counter-clockwise", "rotation", -1)],
)  # fmt: skip
def test_the_movement_of_the_whole_view_is_told(answers, name, key, sign):
    found = mean(answers[name]["camera"])
    scale = {"vx": 0.3, "vy": 0.3, "zoom": 4.0, "rotation": 5.0}
    relative = {other: found[other] / scale[other] for other in scale}
    assert 0.4 < sign * relative[key] < 1.6, found
    assert all(abs(relative[other]) < 0.4 * abs(relative[key]) for other in scale if other != key), found
    assert found["confidence"] > 0.4


def test_the_alarm_rings_only_where_the_view_grows(answers):
    rings = {name: len(found["alarm"]["t"]) for name, found in answers.items()}
    assert rings["zoom in"] >= 3
    assert rings.pop("zoom in") > 3 * max(rings.values()), rings
    alarm = answers["zoom in"]["alarm"]
    assert math.hypot(np.median(alarm["x"]) - MIDDLE[0], np.median(alarm["y"]) - MIDDLE[1]) < 40


def test_motion_energy_tells_directions_too():
    spec = validate(
        {
            "stages": [
                {"id": "energy", "kind": "motion_energy", "at": {"every": 4}},
                {"id": "field", "kind": "motion_field", "tile": 48, "window_us": 40_000},
            ]
        }
    )
    for degrees in (0, 90, 225):
        angle = math.radians(degrees)
        field = offline.run(
            spec, filmed(Sliding(0.3 * math.cos(angle), 0.3 * math.sin(angle))), (WIDTH, HEIGHT)
        )["field"]
        turn = np.arctan2(field["vy"], field["vx"]) - angle
        off = np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn))))
        assert np.median(off) < 30, degrees


@pytest.mark.long
def test_the_annotated_video_plays_and_shows_events_and_arrows(data_dir, tmp_path):
    summary = analyze(
        open_source(data_dir / "recordings" / "davis346.aedat4"),
        preset("motion"),
        tmp_path / "a",
        "a",
        video=True,
    )
    assert "annotated.webm" in summary["artifacts"]
    video = cv2.VideoCapture(str(tmp_path / "a" / "annotated.webm"))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert len(frames) == summary["video_frames"]
    assert 200 <= len(frames) <= 300
    assert frames[0].shape == (520, 692, 3)
    lit = [int((frame.max(axis=2) > 100).sum()) for frame in frames[20:]]
    assert min(lit) > 100
    saturated = [frame for frame in frames if (frame[..., 1].astype(int) - frame[..., 0] > 100).sum() > 5]
    assert saturated  # arrows upwards or leftwards are green or red, which no event is


def test_a_video_is_only_drawn_where_it_is_asked_for(tmp_path):
    summary = analyze(open_source(CLIP), preset("denoise"), tmp_path / "a", "a")
    assert "annotated.webm" not in summary["artifacts"]
    assert "video_frames" not in summary
