"""What a stream is asked to be: ``POST /v1/streams``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.models import registry
from pipeline.spec import PipelineSpec, Sensor, SpecError, preset, validate


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
    sensor: Sensor | None = Field(default=None, description="the source's pixel grid")
    policy: Literal["lossless", "realtime"] = Field(default="lossless", description="who waits for whom")
    max_latency_ms: float = Field(
        default=100, gt=0, le=60_000, description="realtime: frames that waited longer are shed, ms"
    )
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
        return preset(self.pipeline) if isinstance(self.pipeline, str) else validate(self.pipeline)

    def resolved(self) -> StreamRequest:
        """The same with the pipeline in place of its name, its models pinned: a stream outlives changes to both."""
        document = self.spec().model_dump(mode="json")
        for stage in document["stages"]:
            if isinstance(stage.get("model"), str):
                stage["model"] = registry.pinned(stage["model"])
        return self.model_copy(update={"pipeline": document})


def write_request(folder: Path, request: StreamRequest, created_s: float, fsync: bool = False) -> None:
    """Keep what a stream was made from, once."""
    if (folder / "request.json").exists():
        return
    document = {"created_s": created_s, "request": request.model_dump(mode="json")}
    part = folder / ".request.part"
    with part.open("w") as file:
        file.write(json.dumps(document))
        file.flush()
        if fsync:
            os.fsync(file.fileno())
    part.replace(folder / "request.json")


def read_request(folder: Path) -> tuple[StreamRequest, float]:
    """What the stream in ``folder`` was made from, and when."""
    document = json.loads((folder / "request.json").read_bytes())
    return StreamRequest.model_validate(document["request"]), float(document["created_s"])
