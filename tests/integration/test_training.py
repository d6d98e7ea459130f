"""Training: hidden motifs are found again, interrupted runs go on, and what cannot be trained is said."""

import numpy as np
import pytest

from pipeline.models import registry
from pipeline.training import addresses
from pipeline.training.addresses import AddressTraining

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
