"""The port of models and pipelines: versions stay what they were, and a name stands for one of them."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import UserError
from pipeline.models import motif_bank, registry
from pipeline.models.bundle import CARD, WEIGHTS
from pipeline.spec import validate, written


class Models:
    """Bundles that differ by what they call their licence."""

    def __init__(self, folder):
        self.folder = folder

    def of(self, storage):
        return storage.opened().models

    def content(self, name, which):
        bank = registry.load("motif8")
        folder = self.folder / f"{name}-{which}"
        motif_bank.save(
            folder,
            bank.card.model_copy(update={"name": name, "licence": f"L{which}"}),
            bank.weight,
            bank.bias,
        )
        return folder

    def value(self, content):
        return (content / CARD).read_bytes(), (content / WEIGHTS).read_bytes()

    shipped = "motif8"


class Pipelines:
    """Pipelines that differ by a period."""

    def __init__(self, folder):
        pass

    def of(self, storage):
        return storage.opened().pipelines

    def content(self, name, which):
        return written(
            validate({"stages": [{"id": "quiet", "kind": "refractory", "period_us": 500 + which}]})
        )

    def value(self, content):
        return content

    shipped = "motion"


@pytest.fixture(params=[Models, Pipelines], ids=lambda one: one.__name__)
def kind(request, tmp_path):
    return request.param(tmp_path / "made")


def test_what_was_put_is_read_by_version_and_by_name_also_after_a_start(storage, kind):
    kept = kind.of(storage)
    assert kept.names() == []
    contents = [kind.content("mine", which) for which in range(3)]
    values = [kind.value(content) for content in contents]
    versions = [kept.put("mine", content) for content in contents]
    assert len(set(versions)) == 3
    for opened in (kept, kind.of(storage)):
        assert opened.names() == ["mine"]
        assert opened.versions("mine") == versions
        assert opened.active("mine") == versions[-1]
        assert [kind.value(opened.read("mine", version)) for version in versions] == values
        assert kind.value(opened.read("mine")) == values[-1]


def test_a_copy_is_kept(storage, kind):
    kept, content = kind.of(storage), kind.content("mine", 0)
    value = kind.value(content)
    kept.put("mine", content)
    if not isinstance(content, str):
        shutil.rmtree(content)
    assert kind.value(kept.read("mine")) == value


def test_the_same_once_more_is_no_version_and_a_name_stands_for_what_was_activated(storage, kind):
    kept = kind.of(storage)
    first, second = (kept.put("mine", kind.content("mine", which)) for which in (0, 1))
    assert kept.put("mine", kind.content("mine", 1)) == second
    assert kept.versions("mine") == [first, second]
    kept.activate("mine", first)
    kept.activate("mine", first)
    for opened in (kept, kind.of(storage)):
        assert opened.active("mine") == first
        assert kind.value(opened.read("mine")) == kind.value(kind.content("mine", 0))
        assert opened.versions("mine") == [first, second]


def test_names_come_in_their_order_and_each_has_versions_of_its_own(storage, kind):
    kept = kind.of(storage)
    for name in ("b", "c-2", "a"):
        kept.put(name, kind.content(name, 0))
    kept.put("b", kind.content("b", 1))
    assert kept.names() == ["a", "b", "c-2"]
    assert [len(kept.versions(name)) for name in kept.names()] == [1, 2, 1]
    kept.remove("b")
    assert kept.names() == ["a", "c-2"]
    kept.put("b", kind.content("b", 2))
    assert len(kept.versions("b")) == 1, "what was forgotten does not come back"


@pytest.mark.parametrize("name", ["gone", "shipped"])
def test_what_is_not_there_is_said_in_one_line(storage, kind, name):
    kept = kind.of(storage)
    kept.put("mine", kind.content("mine", 0))
    name = kind.shipped if name == "shipped" else name
    for ask in (
        lambda: kept.versions(name), lambda: kept.active(name), lambda: kept.read(name), lambda: kept.remove(name),
        lambda: kept.activate(name, "1"), lambda: kept.read("mine", "999999999999"), lambda: kept.activate("mine", ""),
        lambda: kept.read("mine", "../../1"), lambda: kept.activate("mine", "٣"),
    ):  # fmt: skip
        with pytest.raises(UserError) as said:
            ask()
        assert "\n" not in str(said.value)
    assert kept.names() == ["mine"]


def test_names_that_are_none_are_refused(storage, kind):
    kept = kind.of(storage)
    for name in (kind.shipped, "", ".", "..", "A", "a/b", "a\n", "a" * 65):
        with pytest.raises(UserError):
            kept.put(name, kind.content("mine", 0))
    assert kept.names() == []


def test_those_who_put_at_once_lose_nothing(storage, kind):
    kept = kind.of(storage)
    contents = [kind.content("mine", which) for which in range(8)]
    with ThreadPoolExecutor(8) as several:
        versions = list(several.map(lambda content: kept.put("mine", content), contents))
    assert len(set(versions)) == 8
    assert sorted(kept.versions("mine")) == sorted(versions)
    for version, content in zip(versions, contents, strict=True):
        assert kind.value(kept.read("mine", version)) == kind.value(content)
    assert kept.active("mine") in versions


def test_a_stray_file_or_link_in_a_names_place_is_in_nobodys_way(storage, kind, tmp_path):
    kept = kind.of(storage)
    kept.put("other", kind.content("other", 0))
    place = tmp_path / kind.__class__.__name__.lower()
    (place / "mine").write_text("stray")
    (place / "linked").symlink_to(tmp_path)
    if kind.__class__ is Models:
        kept.put("mine", kind.content("mine", 0))
        kept.put("linked", kind.content("linked", 0))
        assert kept.names() == ["linked", "mine", "other"]
    kept.remove("other")
    assert "other" not in kind.of(storage).names()
    assert tmp_path.is_dir()


def test_a_damaged_version_is_not_activated_and_is_mended_by_the_same_content(storage, tmp_path):
    kind = Models(tmp_path / "made")
    kept = kind.of(storage)
    first, second = (kept.put("mine", kind.content("mine", which)) for which in (0, 1))
    (kept.read("mine", first) / CARD).write_text("{}")
    with pytest.raises(UserError):
        kept.activate("mine", first)
    assert kept.active("mine") == second
    assert kept.put("mine", kind.content("mine", 0)) == first
    kept.activate("mine", second)
    kept.activate("mine", first)
    assert kind.value(kept.read("mine", first)) == kind.value(kind.content("mine", 0))


def test_what_was_active_is_lost_and_nothing_else(storage, tmp_path):
    kind = Pipelines(None)
    kept = kind.of(storage)
    for which in range(3):
        kept.put("mine", kind.content("mine", which))
    for damage in ("", "x"):
        (tmp_path / "pipelines" / "mine" / "active").write_text(damage)
        assert kept.active("mine") == "3"
    (tmp_path / "pipelines" / "mine" / "active").unlink()
    assert kept.put("mine", kind.content("mine", 3)) == "4"
    assert kept.read("mine", "1") == kind.content("mine", 0)
    with pytest.raises(UserError):
        kept.activate("mine", "0")
