"""The states of a stream."""

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


def state_of(opened: bool, ended: bool, finished: bool, failed: bool) -> State:
    """The state that facts amount to; each of them, once true, stays true, so a stream only moves forward.

    Args:
        opened: whether anyone ever sent to it, or a frame came in.
        ended: whether its ``end`` came in.
        finished: whether all its answers exist.
        failed: whether it cannot go on.
    """
    if failed:
        return State.FAILED
    if finished:
        return State.ENDED
    if ended:
        return State.DRAINING
    return State.OPEN if opened else State.CREATED
