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
