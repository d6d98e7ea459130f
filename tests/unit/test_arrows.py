"""Arrows of films: their length follows the speeds that are there."""

import numpy as np
import pytest

from pipeline.sinks.arrows import ArrowScale


def field(px_per_s, confidence=0.9, n=20):
    return {"vx": np.full(n, px_per_s / 1000), "vy": np.zeros(n), "confidence": np.full(n, confidence)}


@pytest.mark.parametrize(
    ("px_per_s", "scale"), [(0.7, 1), (1, 1), (20, 20), (21, 50), (99, 100), (101, 200), (4000, 5000)]
)
def test_an_arrow_as_long_as_a_tile_stands_for_a_round_speed(px_per_s, scale):
    arrows = ArrowScale()
    arrows.follow(field(px_per_s))
    assert arrows.px_per_s == pytest.approx(scale)


def test_arrows_do_not_jump_with_every_window():
    arrows = ArrowScale()
    seen = set()
    for speed in (90, 110, 60, 115, 45, 100):
        arrows.follow(field(speed))
        seen.add(arrows.px_per_s)
    assert len(seen) == 1


def test_a_fast_moment_is_forgotten_within_a_third_of_a_second():
    """After a pan at 4,000 px/s arrows of a scene at 25 px/s were dots for a second."""
    arrows = ArrowScale()
    for _ in range(30):
        arrows.follow(field(4000))
    for _ in range(8):
        arrows.follow(field(25))
    assert arrows.px_per_s == 50
    assert arrows.tiles(np.array([0.025]))[0] == pytest.approx(0.5)


def test_what_is_unsure_sets_no_scale():
    arrows = ArrowScale()
    arrows.follow(field(20))
    arrows.follow(field(3000, confidence=0.1))
    assert arrows.px_per_s == 20
