"""The errors that a user caused and can mend, each one clear line.

UserError
├── SourceError     an input that cannot be read          (pipeline.sources)
├── SpecError       a pipeline that cannot be used        (here)
├── ModelError      a model that is missing or broken     (pipeline.models)
├── CannotWrite     a format or place that cannot hold it    (pipeline.sinks.recordings)
├── NoTable         a file that is no table of results    (pipeline.sinks.tables)
├── LateEvent       events too late where that is fatal   (pipeline.clock)
└── MissingImages   training without its images           (pipeline.training.rendering.images)
"""

from collections.abc import Mapping
from typing import Any


class UserError(ValueError):
    """Something outside is wrong; the message says what, where and what is allowed."""


class SpecError(UserError):
    """A pipeline that cannot be used.

    Attributes:
        path: where it is wrong, such as ``stages[1].kind``; "" for the whole.
        problem: what is wrong and what is allowed.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"pipeline: {path}: {problem}" if path else f"pipeline: {problem}")
        self.path = path
        self.problem = problem


def first_line(problem: BaseException) -> str:
    """The first line of what an exception says; its type where it says nothing."""
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__


_HEXADECIMAL = "hexadecimal digits, lower-case"
_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "letters, digits, _ . and -, at most 64, the first a letter or a digit",
    r"^[a-z0-9][a-z0-9_-]{0,63}$": "lower-case letters, digits, _ and -, at most 64, the first a letter or a digit",
    r"^[a-z0-9][a-z0-9_-]{0,31}$": "lower-case letters, digits, _ and -, at most 32, the first a letter or a digit",
    r"^[a-z][a-z0-9_]{0,31}$": "lower-case letters, digits and _, at most 32, the first a letter",
    r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$": "letters, digits, _ and -, in parts with / between them",
    r"^(/[A-Za-z0-9._~-]+)*$": "a path such as /lab/dvs, or nothing",
    r"^(auto|off|\d{1,3})$": "auto, off, or a number",
    r"^[A-Za-z0-9_.-]{1,128}$": "letters, digits, _ . and -, at most 128",
    **{f"^[0-9a-f]{{{n}}}$": f"{n} {_HEXADECIMAL}" for n in (12, 16, 32, 64)},
}  # fmt: skip
"""What regular expressions of names and ids mean."""


def in_words(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says to users: without its prefix, and what is allowed in place of a pattern.

    Args:
        error: of ``ValidationError.errors()``.
    """
    if error["type"] == "string_pattern_mismatch" and (words := _PATTERNS.get(error["ctx"]["pattern"])):
        return f"allowed are {words}"
    return str(error["msg"]).removeprefix("Value error, ")
