"""The life of a stream, and which way it may go."""

from __future__ import annotations

import enum


class State(enum.StrEnum):
    """created -> open -> draining -> ended; failed from any but ended."""

    CREATED = "created"
    OPEN = "open"
    DRAINING = "draining"
    ENDED = "ended"
    FAILED = "failed"


OVER = frozenset({State.ENDED, State.FAILED})
NEXT: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.OPEN, State.DRAINING, State.FAILED}),
    State.OPEN: frozenset({State.DRAINING, State.FAILED}),
    State.DRAINING: frozenset({State.ENDED, State.FAILED}),
    State.ENDED: frozenset(),
    State.FAILED: frozenset(),
}
"""Where each state may lead. A stream that nobody ever sent to is drained from ``created``."""


class IllegalStep(RuntimeError):
    """A stream was to go where it cannot: a fault of ours."""


class Lifecycle:
    """Where a stream is in its life; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.state = State.CREATED

    def go(self, state: State) -> None:
        """Go on to a state; nothing happens where it is there already.

        Raises:
            IllegalStep: no way leads there.
        """
        if state is self.state:
            return
        if state not in NEXT[self.state]:
            raise IllegalStep(f"a stream that is {self.state} cannot become {state}")
        self.state = state

    @property
    def over(self) -> bool:
        """Whether nothing comes any more."""
        return self.state in OVER
