"""Models: listed, shown, drawn, imported and exported; nothing hostile gets in."""

import io
import json
import zipfile

import numpy as np
import pytest

from pipeline.models import bundle, motif_bank, registry
from pipeline.models.bundle import ModelError
from tests.integration.test_cli import answer, polychrony


def bundle_of(folder, name="mine", **changes):
    bank = registry.load("motif8")
    card = bank.card.model_copy(update={"name": name, **changes})
    motif_bank.save(folder, card, bank.weight, bank.bias)
    return folder


def test_the_zoo_is_exact_and_says_how_good_it_is():
    assert registry.zoo() == ["flow36", "microsaccade", "motif36", "motif8", "nmnist"]
    for name, least in (("motif36", 0.97), ("motif8", 0.84)):
        bank = registry.load(name)
        assert np.array_equal(bank.weight, np.rint(bank.weight))
        assert (np.abs(bank.weight).sum(axis=(1, 2, 3, 4)) + np.abs(bank.bias)).max() < 2**24
        accuracy = bank.card.accuracy
        assert accuracy["class"] >= least
        assert accuracy["quantising"]["integers"] == pytest.approx(accuracy["quantising"]["floats"], abs=0.02)
        assert set(bank.card.provenance["images"]["train"]).isdisjoint(
            bank.card.provenance["images"]["held_out"]
        )
        assert bank.card.provenance["command"] == f"polychrony train motif --preset {name}"
    readout = registry.load_readout("flow36")
    assert readout.card.bank_digest == registry.load(readout.card.bank).digest
    images = readout.card.provenance["images"]
    assert set(images["train"]).isdisjoint([*images["held_out"], *images["validation"]])
    assert readout.card.accuracy["ideal_and_clean"]["degrees"] <= 6
    pruned = registry.load("motif36").card.accuracy["pruning"]
    assert pruned["0.03"] > registry.load("motif36").card.accuracy["class"] - 0.02


def test_models_are_listed_shown_and_drawn(tmp_path):
    listed = json.loads(answer("models", "list", "--json"))
    assert {"motif36", "motif8", "nmnist"} <= {model["name"] for model in listed["models"]}
    shown = json.loads(answer("models", "show", "motif36", "--json"))
    assert shown["shape"] == [36, 2, 21, 17, 17]
    assert "436,968" in answer("models", "show", "motif36")
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"kernels{suffix}"
        answer("models", "show", "motif8", "--plot", path)
        assert path.read_bytes().startswith(start)


def test_a_bundle_goes_out_and_in_again(tmp_path):
    own = {"POLYCHRONY_MODELS": str(tmp_path / "own")}
    folder = bundle_of(tmp_path / "bundle")
    answer("models", "import", folder, **own)
    answer("models", "export", "mine", tmp_path / "mine.zip", **own)
    other = {"POLYCHRONY_MODELS": str(tmp_path / "other")}
    answer("models", "import", tmp_path / "mine.zip", **other)
    digests = [
        json.loads(answer("models", "show", "mine", "--json", **env))["digest"] for env in (own, other)
    ]
    assert digests[0] == digests[1]


def test_a_name_of_the_zoo_is_taken(tmp_path):
    with pytest.raises(ModelError, match="the zoo has a model of this name"):
        registry.install(bundle_of(tmp_path / "bundle", name="motif8"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nothing", b"not a zip"])
def test_what_is_no_zip_is_one_clear_line(tmp_path, content):
    (tmp_path / "bad.zip").write_bytes(content)
    result = polychrony("models", "import", "bad.zip", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (1, 1), result.stderr
    assert "bad.zip" in result.stderr


@pytest.mark.threat("zip traversal in a model", "two names are read from the archive, nothing is unpacked")
def test_only_the_two_files_of_a_zip_are_touched(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYCHRONY_MODELS", str(tmp_path / "own"))
    folder = bundle_of(tmp_path / "bundle")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../escaped", b"x")
        archive.writestr("/absolute", b"x")
        for name in (bundle.CARD, bundle.WEIGHTS):
            archive.write(folder / name, name)
    registry.install(tmp_path / "evil.zip")
    files = [path for path in (tmp_path / "own" / "mine").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"model.json", "weights.safetensors"}
    assert not (tmp_path / "escaped").exists()


@pytest.mark.threat("a decompression bomb in a model", "sizes are limited while unpacking")
def test_a_bomb_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(bundle.CARD, b" " * (bundle.MAX_CARD_BYTES + 10))
        archive.writestr(bundle.WEIGHTS, b"")
    (tmp_path / "bomb.zip").write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match="larger than"):
        registry.install(tmp_path / "bomb.zip")


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ({"kind": "pickle"}, "kind: 'pickle', allowed are"),
        ({"name": "../up"}, "name: allowed are lower-case letters, digits"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"labels": [{"name": "one"}]}, "do not fit 1 labels"),
    ],
)
def test_a_card_that_says_something_else_is_refused(tmp_path, card, problem):
    folder = bundle_of(tmp_path / "bundle")
    document = json.loads((folder / bundle.CARD).read_text()) | card
    (folder / bundle.CARD).write_text(json.dumps(document))
    with pytest.raises(ModelError, match=problem):
        registry.read(folder)
