"""What routes answer with, for the OpenAPI document: clients can be generated from it.

Nothing is checked against these models while the service runs; that its answers are what they say is a test.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.row_kinds import Kind, Published
from pipeline.sensor import HIGHEST, WIDEST

StreamId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
UploadId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Answer(BaseModel):
    """All that is answered is said here."""

    model_config = ConfigDict(extra="forbid")


class Grid(Answer):
    """The pixel grid of a sensor."""

    width: int = Field(ge=1, le=WIDEST, description="pixels")
    height: int = Field(ge=1, le=HIGHEST, description="pixels")


class SourceAnswer(Answer):
    """What feeds a stream, where the service fetches its events."""

    address: str = Field(description="without users, passwords and queries")
    state: str
    error: str | None = Field(description="the last, of now")
    restarts: int
    name: str | None
    losses: dict[str, int] = Field(description="what is known to be lost, by reason")
    may_be_lost_unnoticed: str | None


class StreamAnswer(Answer):
    """A stream."""

    id: StreamId
    name: str | None
    state: str = Field(description="opening, open, draining, ended or failed; see docs/protocol.md")
    policy: Literal["lossless", "realtime"]
    created_s: float = Field(description="s since 1970")
    epoch: int = Field(description="how often it was opened, restarts included")
    sensor: Grid
    outputs: list[str]
    epoch_ns: int = Field(description="ns since 1970 of its time 0; 0 where that is not known")
    ingest_url: str = Field(description="WebSocket for events")
    results_url: str = Field(description="WebSocket for answers")
    source: SourceAnswer | None


class StreamsAnswer(Answer):
    """A page of streams."""

    streams: list[StreamAnswer]
    next: str | None = Field(description="`after` of the next page")


class ReactionAnswer(Answer):
    """How long answers of an output took, from an event's arrival; of the last 10 to 20 s."""

    events: int
    silent: int = Field(description="events that no row answers")
    given_up: int
    horizon_us: int | None = Field(description="how long a window waits for its end")
    p50_us: int | None
    p90_us: int | None
    p99_us: int | None
    bound_us: int | None
    parts_us: dict[str, int] = Field(description="means since the start")


class RatesAnswer(Answer):
    """Of the last 5 s."""

    events_per_s: float
    bytes_per_s: float


class StrideAnswer(Answer):
    """At which share of the places a stream that cannot keep up is evaluated."""

    now: int
    most: int
    changes: int
    events: dict[str, int] = Field(description="events at each stride")


class RecordingAnswer(Answer):
    """The file of frames."""

    on: bool = Field(description="whether frames are added to it")
    bytes: int
    left_out_frames: int


class FailureAnswer(Answer):
    """Why a stream failed."""

    code: str
    detail: str


class StatsAnswer(Answer):
    """What went in, what came out, what was dropped, and how far behind a stream is."""

    state: str
    events: int
    frames: int
    watermark_us: int | None
    lag_us: int | None
    reaction: dict[str, ReactionAnswer] = Field(description="by output")
    waiting_frames: int
    rates: RatesAnswer
    rows: dict[str, int] = Field(description="by output")
    digests: dict[str, str] = Field(description="SHA-256 of each output, once it has ended")
    dropped: dict[str, int] = Field(description="events, by reason")
    repaired: dict[str, int]
    filtered: dict[str, int] = Field(description="events that filters took out, by stage")
    stride: StrideAnswer
    labels_learned: int
    costs: dict[str, dict[str, Any]] = Field(description="by stage")
    stage_seconds: dict[str, float] = Field(description="by stage")
    subscribers: int
    lagged_rows: int
    cut_subscribers: int
    snapshots: int
    snapshot_failures: int
    admission_full: bool
    recording: RecordingAnswer | None
    source: SourceAnswer | None
    trouble: str | None = Field(description="what holds it up; it goes on by itself")
    failure: FailureAnswer | None


class ArtifactAnswer(Answer):
    """A file that a job made."""

    name: str
    bytes: int
    sha256: str
    url: str


class AttemptAnswer(Answer):
    """What became of an attempt."""

    attempt: int
    error: str | None
    finished_s: float | None


class JobAnswer(Answer):
    """A job."""

    id: StreamId
    state: JobState
    name: str = Field(description="of the file")
    error: str | None
    created_s: float = Field(description="s since 1970")
    finished_s: float | None
    attempts: int
    done: float = Field(ge=0, le=1, description="share of the input")
    eta_s: float | None
    priority: int
    history: list[AttemptAnswer]
    events: int | None
    rows: dict[str, int] | None = Field(description="by output")
    artifacts: list[ArtifactAnswer]


class JobsAnswer(Answer):
    """A page of jobs."""

    jobs: list[JobAnswer]
    next: str | None = Field(description="`after` of the next page")


class UploadAnswer(Answer):
    """An upload."""

    id: UploadId
    offset: int = Field(description="bytes that have come")
    length: int = Field(description="bytes when it is complete")


class LabelAnswer(BaseModel):
    """What a class of a model means."""

    model_config = ConfigDict(extra="allow")

    name: str


class ModelAnswer(BaseModel):
    """A model's card, and what it costs; more by its kind."""

    model_config = ConfigDict(extra="allow")

    name: str
    kind: str
    version: str
    digest: str = Field(description="SHA-256")
    labels: list[LabelAnswer]
    accuracy: dict[str, Any]
    provenance: dict[str, Any]
    licence: str | None
    versions: list[str] = Field(description="that are kept, the oldest first")
    zoo: bool = Field(description="whether it comes with Polychrony")


class BrokenAnswer(Answer):
    """A model that cannot be read."""

    name: str
    error: str


class ModelsAnswer(Answer):
    """All models."""

    models: list[ModelAnswer | BrokenAnswer]
    zoo: list[str]


class NamedPipeline(Answer):
    """A pipeline that comes with Polychrony."""

    name: str
    pipeline: dict[str, Any]


class PipelineAnswer(Answer):
    """A pipeline with its versions, or why it cannot be read."""

    name: str
    preset: bool
    pipeline: dict[str, Any] | None = None
    versions: list[int] | None = None
    active: int | None = None
    version: int | None = None
    error: str | None = None


class PipelinesAnswer(Answer):
    """All pipelines, and the JSON schema of every kind of stage."""

    presets: list[NamedPipeline]
    own: list[PipelineAnswer]
    kinds: dict[str, dict[str, Any]]


class OutputAnswer(Answer):
    """An output of a pipeline."""

    name: str
    kind: Kind
    width: int
    height: int
    labels: list[str]


class ValidAnswer(Answer):
    """A pipeline that can be used."""

    fingerprint: str = Field(description="SHA-256 of what its answers depend on")
    outputs: list[OutputAnswer]


class SessionAnswer(Answer):
    """Who is signed in."""

    token_needed: bool | None = None
    name: str | None
    scope: str | None


class PublisherAnswer(Answer):
    """What became of the messages of a receiver."""

    name: str
    to: str = Field(description="scheme and host")
    kinds: list[Published]
    state: str
    sent: int
    rows: int
    dropped: int
    refused: int
    lost_rows: int
    error: str | None
    last_sent_s: float | None
    waiting: int
    waiting_bytes: int


class PublishersAnswer(Answer):
    """Who is told answers."""

    publishers: list[PublisherAnswer]


class StandingAnswer(Answer):
    """A stream that the service keeps open."""

    name: str | None
    stream: str | None
    opened: int
    error: str | None


class AutostartAnswer(Answer):
    """The streams that the service keeps open."""

    autostart: list[StandingAnswer]


class StatusAnswer(Answer):
    """That it is well."""

    status: str
