"""The errors that a user caused and can mend, each one clear line.

UserError
├── SourceError     an input that cannot be read          (pipeline.sources)
├── SpecError       a pipeline that cannot be used        (pipeline.spec)
├── ModelError      a model that is missing or broken     (pipeline.models)
├── CannotWrite     a format or place that cannot hold it    (pipeline.sinks.recordings)
├── NoTable         a file that is no table of results    (pipeline.sinks.tables)
├── LateEvent       events too late where that is fatal   (pipeline.clock)
└── MissingImages   training without its images           (pipeline.training.rendering.images)
"""


class UserError(ValueError):
    """Something outside is wrong; the message says what, where and what is allowed."""


def first_line(problem: BaseException) -> str:
    """The first line of what an exception says; its type where it says nothing."""
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__
