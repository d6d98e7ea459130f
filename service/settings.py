"""Every setting of the service, with its unit and default; environment variables POLYCHRONY_<NAME>."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 2**20


class Settings(BaseSettings):
    """What the service is told at its start."""

    model_config = SettingsConfigDict(env_prefix="POLYCHRONY_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8700, ge=0, le=65535, description="port to listen on; 0 for any free one")
    data_dir: Path = Field(
        default=Path(".polychrony"), description="where streams, jobs and uploads are kept"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names by which the service may be addressed, beside localhost and numbers; a JSON list",
    )
    token: str | None = Field(
        default=None,
        min_length=16,
        description="bearer token; beyond loopback one is made where none is given",
    )
    max_streams: int = Field(default=64, ge=1, description="streams kept at a time")
    max_frame_bytes: int = Field(default=4 * MIB, ge=1024, le=64 * MIB, description="largest frame, bytes")
    window_bytes: int = Field(
        default=16 * MIB, ge=MIB, description="frames of a stream that wait in memory, bytes"
    )
    retention_bytes: int = Field(
        default=64 * MIB, ge=MIB, description="rows of an output that are kept for subscribers, bytes"
    )
    fsync: bool = Field(default=False, description="whether a frame is durable only once it is on the disk")
    slow_subscriber_s: float = Field(default=60, gt=0, description="a subscriber may take this long to read")
    keep_ended_s: float = Field(default=600, gt=0, description="an ended stream's results stay for so long")
    max_upload_bytes: int = Field(default=2048 * MIB, ge=MIB, description="largest upload, bytes")
    parallel_jobs: int = Field(default=1, ge=1, le=64, description="jobs that run at a time")
    max_queued_jobs: int = Field(default=1000, ge=1, description="jobs that may wait")
    job_memory_bytes: int = Field(
        default=8192 * MIB, ge=512 * MIB, description="address space of a job, bytes"
    )
    job_seconds: int = Field(default=3600, ge=1, description="processor time of a job, s")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def streams_dir(self) -> Path:
        """Logs and rows of streams."""
        return self.data_dir / "streams"

    @property
    def jobs_dir(self) -> Path:
        """Uploads and artifacts of jobs."""
        return self.data_dir / "jobs"
