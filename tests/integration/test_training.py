"""Training: hidden motifs are found again, interrupted runs go on, and what cannot be trained is said."""

import itertools
import json

import numpy as np
import pytest

from pipeline.models import registry
from pipeline.models.flow_readout import FlowCard, directions, save, sureness
from pipeline.training.field import scores
from pipeline.training.field import trainer as field_trainer
from pipeline.training.field.trainer import FieldTraining
from pipeline.training.motifs import addresses, sources, trainer
from pipeline.training.motifs.addresses import AddressTraining
from pipeline.training.motifs.config import MotifTraining
from pipeline.training.rendering import images
from pipeline.training.rendering.motions import Sliding
from tests.integration.test_cli import polychrony

ADDRESSES, DELAYS, LABELS = 24, 16, ("a", "b", "c")


def hidden_motifs(rng):
    """Per label a delay for each address: what fires together once the delays have passed."""
    return {label: rng.integers(0, DELAYS, ADDRESSES) for label in LABELS}


def write_recordings(folder, motifs, rng, n=10, seconds=0.4):
    """Recordings in which a label's motif recurs, amid as much noise again."""
    for label, delay in motifs.items():
        (folder / label).mkdir(parents=True)
        for i in range(n):
            ends = np.arange(DELAYS, seconds * 1000, 25) + rng.integers(
                0, 5, int(np.ceil((seconds * 1000 - DELAYS) / 25))
            )
            t = ((ends[:, None] - delay) * 1000 + rng.integers(0, 1000, (len(ends), ADDRESSES))).ravel()
            x = np.tile(np.arange(ADDRESSES), len(ends))
            noise = len(t)
            t = np.concatenate([t, rng.integers(0, int(seconds * 1e6), noise)]).astype(np.int64)
            x = np.concatenate([x, rng.integers(0, ADDRESSES, noise)])
            order = np.argsort(t, kind="stable")
            rows = np.stack([t[order], x[order], np.zeros_like(x), np.ones_like(x)], axis=1)
            text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
            (folder / label / f"{i}.csv").write_text("t,x,y,p\n" + text + "\n")


@pytest.mark.parametrize("method", ["taps", "delays"])
def test_motifs_hidden_in_noise_are_found_again(tmp_path, method):
    rng = np.random.default_rng(0)
    motifs = hidden_motifs(rng)
    write_recordings(tmp_path / "data", motifs, rng)
    config = AddressTraining(
        name="hidden", recordings=str(tmp_path / "data"), address="x", method=method, delays=DELAYS,
        steps=500,
    )  # fmt: skip
    losses = []
    card = addresses.train(config, tmp_path / "bank", lambda *told: losses.append(told[2]))
    assert np.mean(losses[-50:]) < 0.8 * np.mean(losses[:50])
    assert card.accuracy["class"] == 1.0
    assert card.accuracy["quantising"]["recordings_answered_alike"] == 1.0
    bank = registry.read(tmp_path / "bank")
    taps_a_synapse = np.count_nonzero(bank.weight, axis=2)
    assert taps_a_synapse.max() == 1 if method == "delays" else taps_a_synapse.mean() > DELAYS / 2


TINY = MotifTraining(
    name="tiny", motion="saccades", directions=4, speeds_px_per_ms=(0.3,), size=5, delays=6, steps=12, movies=2,
    voxels=50, leaves=2, test_movies=8, contrast_flip=True,
)  # fmt: skip


class Interrupted(Exception):
    pass


@pytest.mark.long
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_SAVED_EVERY_S", 0.0)
    trainer.train(TINY, tmp_path / "whole", lambda _: None, threads=1)

    def stop(told):
        if told.step == 7:
            raise Interrupted

    with pytest.raises(Interrupted):
        trainer.train(TINY, tmp_path / "parts", stop, threads=2)
    seen = []
    trainer.train(TINY, tmp_path / "parts", lambda told: seen.append(told.step), threads=2)
    assert seen == [8, 9, 10, 11, 12]
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "model.json",
        "weights.safetensors",
    ]


def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_SAVED_EVERY_S", 0.0)

    def stop(_):
        raise Interrupted

    with pytest.raises(Interrupted):
        trainer.train(TINY, tmp_path, stop, threads=1)
    with pytest.raises(trainer.CannotResume, match="of another training"):
        trainer.train(TINY.model_copy(update={"seed": 9}), tmp_path, stop, threads=1)


def test_a_bank_treats_quarter_turns_and_mirrorings_alike(tmp_path):
    trainer.train(TINY, tmp_path, lambda _: None, threads=1)
    weight = registry.read(tmp_path).weight  # classes right, down, left, up; 10 of 1023 is rounding in Adam
    np.testing.assert_allclose(np.rot90(weight[0], -1, axes=(2, 3)), weight[1], atol=10)
    np.testing.assert_allclose(weight[0][:, :, ::-1], weight[0], atol=10)
    np.testing.assert_allclose(weight[0][:, :, :, ::-1], weight[2], atol=10)


@pytest.mark.parametrize("kind", ["slides", "clouds", "bars", "dots", "gratings", "looming", "rotation"])
def test_every_motion_makes_movies_to_learn_from(kind):
    config = MotifTraining(motion=kind, size=7, delays=8, leaves=1)
    made = sources.maker(config)
    movies = [made.make(np.random.default_rng([1, i]), "train") for i in range(6)]
    seen = set()
    for movie in movies:
        t, x, y, _ = movie.events
        assert np.all(np.diff(t) >= 0)
        assert int(t[-1]) < len(movie.label) * movie.bin_us
        assert (int(x.max()) < movie.width, int(y.max()) < movie.height) == (True, True)
        voxels = movie.voxels(movie.past(), 7, 8)
        seen |= set(movie.labels(voxels).tolist())
    assert len(seen) >= 2
    assert seen <= set(range(len(made.labels)))
    again = made.make(np.random.default_rng([1, 0]), "train")
    np.testing.assert_array_equal(again.events[0], movies[0].events[0])


def test_slides_show_the_motion_that_their_label_says():
    """Events of an image that slides to the right come later further to the right."""
    movie = sources.under_pixels(
        images.dead_leaves(256, np.random.default_rng(0)),
        Sliding(0.4, 0.0),
        3,
        1000,
        np.random.default_rng(1),
    )
    t, x, y, p = movie.events
    count = np.zeros((len(movie.label), 64, 64))
    np.add.at(count, (t // 1000, y, x), np.where(p, 1.0, -1.0))
    early, late = count[20:-15, :, 10:-10], count[30:-5]
    shifts = {dx: (early * late[:, :, 10 + dx : 54 + dx]).sum() for dx in range(-8, 9)}
    assert max(shifts, key=shifts.__getitem__) in {3, 4, 5}


def test_a_bank_learns_from_labelled_recordings(tmp_path):
    """Two gestures, up and down, as CSV files in folders."""
    rng = np.random.default_rng(0)
    for label, sign in (("down", 1), ("up", -1)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(5):
            start = rng.integers(0, [40, 40], (40, 2))
            ms = np.repeat(np.arange(120), 40)
            x = np.tile(start[:, 0], 120)
            y = (np.tile(start[:, 1], 120) + sign * (ms * 0.4).astype(int)) % 40
            rows = np.stack([ms * 1000, x, y, rng.integers(0, 2, len(ms))], axis=1)
            text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
            (tmp_path / "data" / label / f"{i}.csv").write_text("t,x,y,p\n" + text + "\n")
    config = MotifTraining(
        name="gestures", motion="recordings", recordings=str(tmp_path / "data"), size=7, delays=10, steps=60,
        movies=4, voxels=100, test_movies=4,
    )  # fmt: skip
    card = trainer.train(config, tmp_path / "bank", lambda _: None, threads=1)
    assert [label.name for label in card.labels] == ["down", "up"]
    assert card.accuracy["class"] == 1.0
    assert len(card.provenance["images"]["held_out"]) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--recordings", "nothing"], "nothing: needs at least two folders"),
        (["--images", "nothing"], "nothing: no folder with images"),
        (["--motion", "somersault"], "Invalid value for --motion"),
        (["--size", "8"], "its side is odd"),
        (["--motion", "recordings"], "recordings: a folder"),
    ],
)
def test_what_cannot_be_trained_is_one_clear_line(tmp_path, options, problem):
    result = polychrony("train", "motif", "--out", "bank", *options, cwd=tmp_path)
    assert result.returncode in {1, 2}
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert problem in result.stderr


def test_addresses_are_trained_by_a_command(tmp_path):
    rng = np.random.default_rng(0)
    write_recordings(tmp_path / "data", hidden_motifs(rng), rng, n=4, seconds=0.2)
    result = polychrony(
        "train", "addresses", "--recordings", "data", "--out", "bank", "--address", "x", "--steps", "5",
        "--delays", "16", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)) >= {"chance", "class", "validation", "quantising"}


@pytest.mark.long
def test_a_readout_of_motion_is_a_function_of_its_configuration(tmp_path):
    config = FieldTraining(movies=8, bags=40, epochs=6, batch=64, leaves=2)
    made = [field_trainer.examples(config, range(8), lambda _: None, threads) for threads in (1, 2)]
    for name in vars(made[0]):
        np.testing.assert_array_equal(getattr(made[0], name), getattr(made[1], name))
    assert np.isnan(made[0].vx).any(), "tiles of noise are among them"
    bank, losses = field_trainer.bank_of(config), []
    learner = field_trainer.fit(config, bank, made[0], lambda _, loss: losses.append(loss))
    assert np.mean(losses[-3:]) < losses[0] - 0.5
    card = FlowCard(
        name="tried", version="1", labels=directions(field_trainer.ANGLES), bank=config.bank, bank_digest=bank.digest,
        bins_us=field_trainer.BINS_US, lowest_log2=float(field_trainer.LOG2_SPEED[0]), confidence=((0.0, 0.1), (3.0, 0.9)),
    )  # fmt: skip
    weight, has, bias = learner.parts
    save(tmp_path / "tried", card, {"weight": weight, "has": has, "bias": bias}, learner.angle, learner.speed)
    read = registry.read(tmp_path / "tried")
    for ours, theirs in zip(read.readout(bank.card.scale), learner.readout(bank.card.scale), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_confidence_is_the_share_that_was_right():
    rng = np.random.default_rng(0)
    mass = 1 - 10.0 ** -rng.uniform(0, 4, 20_000)
    right = (rng.random(20_000) < sureness(mass) / 4).astype(float)
    points = scores.calibration(mass[:10_000], right[:10_000])
    confidence = np.interp(sureness(mass[10_000:]), *zip(*points, strict=True))
    assert scores.calibration_error(confidence, right[10_000:]) < 0.03
    assert all(a <= b for column in zip(*points, strict=True) for a, b in itertools.pairwise(column))
