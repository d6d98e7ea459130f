from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.motion import flow
from tests.reference import flow as naive

ACROSS, DOWN, SCALES, CLASSES, ANGLES = 4, 3, 2, 6, 16


def readout(rng, loud=1.0):
    """The parts of a random readout of 6 classes, at 2 speeds."""
    angles, count, speeds = ANGLES, 5, 7
    small = [
        rng.normal(0, loud, shape) for shape in ((count, 2 * SCALES * 2, speeds), (SCALES, speeds), speeds)
    ]
    weight, has, bias = ((np.rint(part * 256) / 256).astype(np.float32) for part in small)
    angle, speed = rng.integers(0, angles, CLASSES), np.append(rng.integers(0, 2, CLASSES - 1), 1)
    return SimpleNamespace(
        weight=weight, has=has, bias=bias, angle=angle, speed=speed, log2_speed=np.arange(speeds) / 3 - 1,
        angles=angles, scale=1e-3,
    )  # fmt: skip


def laid(parts):
    return flow.readout(**vars(parts))


def series(rng, n):
    made = []
    for _ in range(n):
        rows = rng.integers(0, 30, (SCALES, ACROSS * DOWN)) * (rng.random((SCALES, ACROSS * DOWN)) < 0.7)
        sums = rng.integers(-4000, 4000, (SCALES, ACROSS * DOWN, CLASSES)) * rows[:, :, None]
        added = np.minimum(rows, 12)
        made.append((sums, rows, added, rng.integers(0, 20, ACROSS * DOWN)))
    return made


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([0.05, 1.0, 30.0, 1e6]))
def test_a_field_equals_its_twin(seed, n, loud):
    rng = np.random.default_rng(seed)
    made, seen = readout(rng, loud), series(rng, n)
    belief = flow.new_belief(ACROSS * DOWN, 7 * ANGLES)
    twin = naive.windows(seen, 8, made, ACROSS, 4, 6 * 256, 4)
    for window, expected in zip(seen, twin, strict=True):
        found = flow.advance(*window, 8, belief, laid(made), ACROSS)
        assert found.tile.tolist() == sorted(expected)
        for i, k in enumerate(found.tile.tolist()):
            np.testing.assert_allclose(
                (found.vx[i], found.vy[i], found.mass[i], *found.centre[i]),
                expected[k],
                rtol=1e-9,
                atol=1e-12,
            )


@given(st.integers(0, 2**32))
def test_log_posteriors_equal_the_twin_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    made = readout(rng)
    sums, rows, added, _ = series(rng, 1)[0]
    ours = flow.logs_of(sums, rows, added, laid(made))
    for k in range(ACROSS * DOWN):
        np.testing.assert_array_equal(ours[k], naive.logs(sums[:, k], rows[:, k], added[:, k], made))


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_windows_that_say_nothing_fade_what_is_known(seed, silent):
    """Skipping windows is the same as closing them without an event."""
    rng = np.random.default_rng(seed)
    made = readout(rng)
    first, last = series(rng, 2)
    results = []
    for skips in (True, False):
        belief = flow.new_belief(ACROSS * DOWN, 7 * ANGLES)
        flow.advance(*first, 8, belief, laid(made), ACROSS)
        if skips:
            flow.fade(belief, silent)
        else:
            for _ in range(silent):
                flow.advance(*(np.zeros_like(one) for one in first), 8, belief, laid(made), ACROSS)
        results.append(flow.advance(*last, 8, belief, laid(made), ACROSS))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_turning_the_evidence_turns_the_answer():
    """The readout is alike in all directions: classes a quarter turn on, velocities a quarter turn on."""
    rng = np.random.default_rng(5)
    made = readout(rng)
    sums, rows, added, events = series(rng, 1)[0]
    events[:] = 20
    turned = SimpleNamespace(**{**vars(made), "angle": (made.angle + ANGLES // 4) % ANGLES})
    ours, theirs = (
        flow.advance(
            sums, rows, added, events, 8, flow.new_belief(ACROSS * DOWN, 7 * ANGLES), laid(one), ACROSS
        )
        for one in (made, turned)
    )
    np.testing.assert_allclose(theirs.vx, -ours.vy, atol=0.02)
    np.testing.assert_allclose(theirs.vy, ours.vx, atol=0.02)


def test_events_are_counted_per_tile():
    rng = np.random.default_rng(1)
    x, y = (rng.integers(0, n, 500).astype(np.uint16) for n in (64, 48))
    events = np.zeros(ACROSS * DOWN, np.int64)
    flow.count(x, y, 16, ACROSS, events)
    np.testing.assert_array_equal(events, np.bincount(y.astype(int) // 16 * ACROSS + x // 16, minlength=12))
