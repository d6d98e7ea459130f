"""A short form of ``python -m tests.fuzz``: hostile bytes for every decoder."""

import pytest

from tests.fuzz import __main__ as fuzzing


@pytest.mark.parametrize("name", fuzzing.FORMATS)
def test_hostile_bytes_are_decoded_or_refused(name):
    if name == "ROS bag":
        pytest.importorskip("rosbags")
    said = []
    ended, faults = fuzzing.fuzz(name, 300, seed=1, tell=said.append)
    assert faults == [], said
    assert sum(ended.values()) == 300
