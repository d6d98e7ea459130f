"""What storage keeps: snapshots of streams, jobs, uploads, messages for receivers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pipeline.checkpoint import State
from pipeline.errors import UserError

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
OVER = frozenset({DONE, FAILED, CANCELLED})
"""States of a job; those that it does not leave by itself."""


class BadSecret(UserError):
    """A secret that is missing where there should be one, too short, or cannot be read."""


class StaleOffset(Exception):
    """Bytes were to be added to an upload where it does not end; it ends at ``offset``."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload is at {offset}")
        self.offset = offset


@dataclass(frozen=True)
class Snapshot:
    """The state of a stream after frame ``number``.

    Attributes:
        number: of the last frame in it.
        card: what JSON can say: the request, counts, the row stores, the graph's fingerprint.
        state: arrays of the intake and what lies behind it.
    """

    number: int
    card: dict[str, Any]
    state: State


@dataclass
class Job:
    """One job.

    Attributes:
        id: its name.
        name: the name of the file that was uploaded.
        options: of ``polychrony analyze``.
        state: see the words above.
        priority: jobs of a higher one run first.
        error: one line, where it failed.
        attempts: how often it was started.
        history: what became of earlier attempts, as {attempt, error, finished_s}.
        artifacts: {name, bytes, sha256} of what it made.
        bytes: of all its files.
        asked: SHA-256 of what was asked for; None where that was not written down.
    """

    id: str
    name: str
    options: dict[str, Any]
    idempotency_key: str | None = None
    priority: int = 0
    state: str = QUEUED
    created_s: float = field(default_factory=time.time)
    started_s: float | None = None
    finished_s: float | None = None
    error: str | None = None
    attempts: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    artifacts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    bytes: int = 0
    asked: str | None = None


@dataclass(frozen=True)
class StoredUpload:
    """An upload, as it was when it was looked at.

    Attributes:
        id: its name.
        length: bytes when it is complete.
        metadata: what the client said of it.
        offset: bytes that are here.
        changed_s: when the last of them came, s since 1970.
    """

    id: str
    length: int
    metadata: dict[str, str]
    offset: int
    changed_s: float

    @property
    def complete(self) -> bool:
        """Whether all of them are."""
        return self.offset == self.length


@dataclass(frozen=True)
class Message:
    """What is delivered.

    Attributes:
        id: names it for ever: who gets it twice sees that.
        topic: what it is about, ``STREAM/OUTPUT``.
        body: JSON.
        rows: how many rows it holds.
    """

    id: str
    topic: str
    body: bytes
    rows: int


@dataclass
class Held:
    """What waits for a receiver."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Waiting:
    """A message that waits."""

    number: int
    message: Message
