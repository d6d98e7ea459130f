"""The bundled clip: what its script renders, and that the bank recovers its directions."""

import math

import cv2
import numpy as np
import pytest

from pipeline import samples
from pipeline.models import motif_bank, registry
from pipeline.offline import engine_for, steps
from pipeline.rows import unpack
from pipeline.samples import render
from pipeline.sources import open_source
from pipeline.spec import load


@pytest.fixture(scope="module")
def answers():
    """All rows of the motion pipeline over the clip."""
    parts = {}
    source = open_source(samples.CLIP)
    engine = engine_for(source, load("motion"))
    for _, results, _ in steps(engine, source):
        for result in results:
            parts.setdefault(result.output, []).append(
                unpack(result.rows, engine.graph.outputs[result.output])
            )
    return {
        output: {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}
        for output, rows in parts.items()
    }


def frames_of(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
    capture.release()
    return np.array(frames)


def test_the_clip_is_what_the_script_renders(tmp_path):
    render.render(tmp_path)
    ours, again = frames_of(samples.CLIP), frames_of(tmp_path / samples.CLIP.name)
    truth = samples.truth()
    assert ours.shape == (truth.frames, truth.height, truth.width)
    # encoders differ between versions of FFmpeg: the pictures must not
    assert np.abs(ours.astype(int) - again).mean() < 2
    assert truth == render.scene()
    assert truth.frames_per_second >= 500
    assert samples.CLIP.stat().st_size < 1_000_000


def test_every_window_moves_as_the_truth_says(answers):
    labels = registry.load("motif8").card.labels
    direction = np.radians([label.direction_deg for label in labels])
    motion, field = answers["motion"], answers["field"]
    for window in samples.truth().windows:
        truth = math.radians(window.direction_deg)
        seen = np.hypot(motion["x"] - window.x, motion["y"] - window.y) < window.radius
        found = direction[motion["label"][seen]]
        assert seen.sum() > 500
        assert np.mean(np.cos(found - truth) > math.cos(math.radians(46))) > 0.75
        inside = np.hypot(field["x"] + 8 - window.x, field["y"] + 8 - window.y) < window.radius
        weight = field["confidence"][inside]
        vx, vy = (weight * field["vx"][inside]).sum(), (weight * field["vy"][inside]).sum()
        off = math.remainder(math.atan2(vy, vx) - truth, 2 * math.pi)
        assert abs(off) < math.radians(12)
        assert math.hypot(vx, vy) / weight.sum() == pytest.approx(window.speed_px_per_ms, rel=0.3)


def test_the_bank_is_exact_and_says_where_it_comes_from():
    bank = registry.load("motif8")
    directions = {label.direction_deg for label in bank.card.labels}
    assert directions == {45.0 * i for i in range(8)}
    assert np.array_equal(bank.weight, np.rint(bank.weight))
    assert (np.abs(bank.weight).sum(axis=(1, 2, 3, 4)) + np.abs(bank.bias)).max() < 2**24
    assert bank.card.accuracy["direction"] > 0.8
    assert bank.card.provenance["command"] == "polychrony train motif --preset motif8"
    assert "Apache-2.0" in bank.card.licence


def test_keep_prunes_by_magnitude():
    bank = registry.load("motif8")
    kept = motif_bank.prune(bank.weight, 0.01)
    n = np.count_nonzero(kept)
    assert n >= round(0.01 * bank.weight.size)
    assert np.abs(kept[kept != 0]).min() >= np.abs(bank.weight[kept == 0]).max()
    assert motif_bank.prune(bank.weight, 1.0) is bank.weight


def test_a_bundle_round_trips_whatever_its_strides(tmp_path):
    bank = registry.load("motif8")
    turned = np.asfortranarray(bank.weight)
    motif_bank.save(tmp_path / "bank", bank.card, turned, bank.bias)
    back = registry.read(tmp_path / "bank")
    np.testing.assert_array_equal(back.weight, bank.weight)
    assert back.digest == bank.digest


@pytest.mark.parametrize("broken", ["model.json", "weights.safetensors"])
def test_a_broken_bundle_is_refused_in_one_line(tmp_path, broken):
    bank = registry.load("motif8")
    motif_bank.save(tmp_path / "bank", bank.card, bank.weight, bank.bias)
    (tmp_path / "bank" / broken).write_bytes(b"\x00nonsense")
    with pytest.raises(motif_bank.ModelError, match="model at bank") as caught:
        registry.read(tmp_path / "bank")
    assert "\n" not in str(caught.value)
