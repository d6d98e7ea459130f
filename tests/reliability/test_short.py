"""A short form of every check; ``make reliability`` does them at length."""

import pytest

from tests.reliability.checks import CannotRun, Scale, every


@pytest.mark.long
@pytest.mark.parametrize("one", every(), ids=lambda one: f"line {one.number}")
def test_line(one, tmp_path):
    try:
        assert one.run(Scale.SHORT, tmp_path)
    except CannotRun as why:
        pytest.skip(str(why))
