"""What pydantic says is said in words: no pattern is shown to a user."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import _PATTERNS, in_words

ROOT = Path(__file__).parents[2]


def test_every_pattern_of_a_field_has_words():
    stated = set()
    for folder in ("service", "pipeline"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            named = dict(re.findall(r'^(NAME) = r"(.*)"$', text, re.MULTILINE))
            stated |= set(re.findall(r'\bpattern=r?"([^"]+)"', text)) | set(named.values())
    assert stated, "the search finds nothing any more"
    assert stated <= set(_PATTERNS), stated - set(_PATTERNS)


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_it_is_said_what_is_allowed(pattern):
    class Model(BaseModel):
        name: str = Field(pattern=pattern)

    with pytest.raises(ValidationError) as raised:
        Model(name="?!")
    assert in_words(raised.value.errors()[0]) == f"allowed are {_PATTERNS[pattern]}"


def test_others_lose_their_prefix():
    assert in_words({"type": "value_error", "msg": "Value error, too much"}) == "too much"
