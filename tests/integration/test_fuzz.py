"""A short form of ``python -m tests.fuzz``: hostile bytes for every decoder."""

import pytest

from tests.fuzz import __main__ as fuzzing
from tests.fuzz import tables


@pytest.mark.parametrize("name", fuzzing.FORMATS)
def test_hostile_bytes_are_decoded_or_refused(name):
    if name in {"ROS bag", "mat"}:
        pytest.importorskip({"ROS bag": "rosbags", "mat": "scipy"}[name])
    said = []
    ended, faults = fuzzing.fuzz(name, 300, seed=1, tell=said.append)
    assert faults == [], said
    assert sum(ended.values()) == 300


def test_plausible_tables_are_read_rightly_or_refused():
    said = []
    counts, wrong = tables.run(400, seed=1, tell=said.append)
    assert wrong == [], said
    assert counts["read"] > 150


def test_every_format_is_fuzzed():
    from pipeline.sources import FORMATS

    fuzzed = {name for name in fuzzing.FORMATS if not name.startswith("video")}
    assert set(FORMATS) <= fuzzed
