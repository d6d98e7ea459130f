"""What can go wrong.

PolychronyError
├── Refused      the service answered with an error          .status .errors
├── Closed       the service closed a stream's connection    .close .code
└── Unreachable  there is no service, or it went away
    └── TimedOut     it is there, and nothing went on for as long as was given
"""

from __future__ import annotations

from typing import Any


class PolychronyError(Exception):
    """Something between this client and the service went wrong."""


class Refused(PolychronyError):
    """The service refused a request (RFC 9457).

    Attributes:
        status: HTTP status.
        errors: the fields to blame, as {path, problem}.
    """

    def __init__(self, status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.errors = status, errors or []


class Closed(PolychronyError):
    """The service closed a connection for a fault.

    Attributes:
        close: WebSocket close code.
        code: a word for machines.
    """

    def __init__(self, close: int, code: str, detail: str) -> None:
        super().__init__(f"{code or close}: {detail or 'connection closed'}")
        self.close, self.code = close, code


class Unreachable(PolychronyError):
    """There is no service at the address, or it went away and did not come back."""


class TimedOut(Unreachable):
    """A call took longer than it was given."""


class EventsLost(UserWarning):
    """A stream ended, and not all of its events were used."""


class RowsGone(UserWarning):
    """Rows of an output were asked for, and the service no longer keeps all of them."""


def told_gone(id_: str, output: str, n: int) -> str:
    """The words of the warning."""
    return (
        f"stream {id_}: the service has not got {n} rows of {output} any more: read results() while the stream "
        "runs, or have it keep more (retention_bytes)"
    )


def told_lost(id_: str, lost: dict[str, int]) -> str:
    """The words of the warning."""
    return f"stream {id_}: " + ", ".join(
        f"{n} events {reason.replace('_', ' ')}" for reason, n in lost.items()
    )


def lost_events(stats: dict[str, Any]) -> dict[str, int]:
    """What of a stream was dropped, by reason; only what is not 0."""
    return {reason: n for reason, n in stats.get("dropped", {}).items() if n}
