"""What a stream is asked to be: ``POST /v1/streams``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.models import registry
from pipeline.sensor import Sensor
from pipeline.spec import PipelineSpec, SpecError, resolve
from service.settings import Settings

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def _without_default(schema: dict[str, Any]) -> None:
    """The default is a setting of the service."""
    schema.pop("default", None)


class SourceRequest(BaseModel):
    """Where the service itself fetches events from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(
        min_length=1,
        max_length=500,
        description="as `polychrony stream` takes it; "
        "`sample:` for the bundled clip, `pictures:` for pictures that a client pushes",
    )
    speed: float = Field(
        default=1.0, ge=0, le=1e6, description="of a file: times real time; 0: as fast as it goes"
    )
    repeat: bool = Field(default=False, description="begin a file again at its end, for ever")
    follow: bool = Field(default=False, description="go on reading a file or folder that grows")
    give_up_s: float = Field(
        default=0, ge=0, le=86_400, description="end when nothing came for so long; 0: never"
    )


class StreamRequest(BaseModel):
    """``POST /v1/streams``."""

    model_config = ConfigDict(
        frozen=True, extra="forbid",
        json_schema_extra={"examples": [{"pipeline": "denoise", "sensor": {"width": 346, "height": 260}}]},
    )  # fmt: skip

    pipeline: str | dict[str, Any] | None = Field(
        default=None, description="name of a preset or of a pipeline that is kept, or a pipeline"
    )
    snapshot: str | None = Field(
        default=None, pattern="^[0-9a-f]{32}$",
        description="upload of a snapshot to go on from; it brings all other keys but `source`",
    )  # fmt: skip
    name: str | None = Field(
        default=None, pattern=NAME,
        description="what you call it; it need not be the only one of that name",
    )  # fmt: skip
    sensor: Sensor | None = Field(default=None, description="the source's pixel grid")
    policy: Literal["lossless", "realtime"] = Field(
        default="lossless", json_schema_extra=_without_default,
        description="who waits for whom; default: the setting stream_policy",
    )  # fmt: skip
    max_latency_ms: float = Field(
        default=100, gt=0, le=60_000, json_schema_extra=_without_default,
        description="realtime: frames whose answers would come later are shed, ms; default: stream_max_latency_ms",
    )  # fmt: skip
    max_stride: int = Field(
        default=1, ge=1, le=1024, json_schema_extra=_without_default,
        description="realtime: under load detectors evaluate at one of so many places before anything is shed; "
        "default: stream_max_stride",
    )  # fmt: skip
    reorder_us: int = Field(default=0, ge=0, lt=10_000_000, description="how late an event may come, us")
    late: Literal["drop", "error"] = Field(default="drop", description="what a later one does")
    idle_timeout_s: float = Field(
        default=60, gt=0, le=86_400, description="a stream without sender ends after this, s"
    )
    epoch_ns: int = Field(default=0, ge=0, le=2**63 - 1, description="ns since 1970 at stream time 0")
    record: bool = Field(default=False, description="keep all frames, to be downloaded")
    source: SourceRequest | None = Field(default=None, description="where the service fetches events itself")

    def spec(self) -> PipelineSpec:
        """The pipeline.

        Raises:
            SpecError: it cannot be used.
        """
        if self.pipeline is None:
            raise SpecError("", "needed: the name of a preset, or a pipeline")
        return resolve(self.pipeline)

    def resolved(self, settings: Settings) -> StreamRequest:
        """The same with what it left to the service, and with the pipeline in place of its name, its models pinned:
        a stream outlives changes to all of them.
        """
        left = {
            "policy": settings.stream_policy, "max_latency_ms": settings.stream_max_latency_ms,
            "max_stride": settings.stream_max_stride,
        }  # fmt: skip
        update: dict[str, Any] = {k: v for k, v in left.items() if k not in self.model_fields_set}
        document = self.spec().model_dump(mode="json")
        for stage in document["stages"]:
            if isinstance(stage.get("model"), str):
                stage["model"] = registry.pinned(stage["model"])
        return self.model_copy(update={**update, "pipeline": document})


def document_of(request: StreamRequest, created_s: float, record: bool) -> dict[str, Any]:
    """What is stored of a stream, for a start to make it from; :meth:`service.storage.ports.StreamStore.reveal`."""
    return {"created_s": created_s, "request": {**request.model_dump(mode="json"), "record": record}}
