"""The shape of the stream core: small classes, and fields that their own module alone writes."""

from tests.shape import ROOT, classes, foreign_writes

STREAMS = ROOT / "service" / "streams"


def test_no_class_of_the_stream_core_has_more_than_twenty_methods():
    found = {one.name: len(one.methods) for one in classes(STREAMS)}
    assert len(found) > 20
    assert {name: n for name, n in found.items() if n > 20} == {}


def test_fields_of_a_stream_are_written_by_their_own_module():
    assert foreign_writes(STREAMS, ROOT / "service") == []


def test_writes_from_outside_are_noticed(tmp_path):
    (tmp_path / "a.py").write_text("class A:\n    def __init__(self):\n        self.b = 1\n")
    (tmp_path / "c.py").write_text("def f(a):\n    a.b = 2\n    a.b += 1\n    a.other = 3\n")
    assert [(path.name, line, name) for path, line, name in foreign_writes(tmp_path, tmp_path)] == [
        ("c.py", 2, "b"), ("c.py", 3, "b")
    ]  # fmt: skip


def test_nobody_waits_in_a_way_that_forgets_a_cancellation():
    """`asyncio.wait_for` does before Python 3.12, where what it waits for has just come; `asyncio.timeout` does not."""
    for folder in ("service", "clients/python/polychrony_client"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "asyncio.wait_for(" not in path.read_text(), path
