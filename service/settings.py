"""Every setting of the service, with its unit and default.

From the weakest to the strongest: the default, what the profile says, variables POLYCHRONY_DEFAULT_<NAME> (what an
image or a unit brings along), the file (``polychrony.toml``, or the one that POLYCHRONY_CONFIG names), variables
POLYCHRONY_<NAME>, options of the command line. ``polychrony config`` prints them all, each with where it comes from.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.profiles import PROFILES
from service.publish_to import PublishTo

MIB = 2**20
CONFIG_FILE = "polychrony.toml"
DEFAULTS = "POLYCHRONY_DEFAULT_"
"""Variables that begin so are weaker than the file: whoever runs an image has not set them on purpose."""


def config_file() -> Path:
    """The file of settings; it need not exist."""
    return Path(os.environ.get("POLYCHRONY_CONFIG") or CONFIG_FILE)


LEAST_TOKEN = 16
"""Characters that an admin token has at least."""


class _ProfileSource(PydanticBaseSettingsSource):
    """The defaults of the profile that stronger sources name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not asked for: :meth:`__call__` answers for all."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """See the base class."""
        known = self.current_state
        if (profile := PROFILES.get(str(known.get("profile")))) is None:
            return {}
        try:
            given = [int(known[name]) if known.get(name) else None for name in ("memory_bytes", "cores")]
        except (TypeError, ValueError):  # said when the settings are checked
            return {}
        return {name: value for name, value in profile(*given).items() if name not in known}


class Settings(BaseSettings):
    """What the service is told at its start."""

    model_config = SettingsConfigDict(env_prefix="POLYCHRONY_", frozen=True, extra="forbid")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Options, the environment, the file, what the image brings along, the profile; nothing else."""
        del dotenv_settings, file_secret_settings
        from_file = TomlConfigSettingsSource(settings_cls, config_file())
        brought = EnvSettingsSource(settings_cls, env_prefix=DEFAULTS)
        return init_settings, env_settings, from_file, brought, _ProfileSource(settings_cls)

    # What it runs on
    profile: Literal["standard", "edge"] = Field(
        default="standard",
        description="edge: the defaults below fit a small box, by memory_bytes and cores; see edge.md",
    )
    memory_bytes: int | None = Field(
        default=None, ge=288 * MIB, description="of profile edge: memory that the service may use, bytes"
    )
    cores: int | None = Field(
        default=None, ge=1, le=1024, description="threads of libraries, in the service and its jobs"
    )

    # Where it listens, and for whom
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8700, ge=0, le=65535, description="port to listen on; 0 for any free one")
    data_dir: Path = Field(
        default=Path(".polychrony"), description="where streams, jobs and uploads are kept"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names by which the service may be addressed, beside localhost and numbers; a list",
    )
    internal_hosts: tuple[str, ...] = Field(
        default=(),
        description="likewise, for what runs beside it, such as the other containers of a compose file; a list",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description="origins whose pages may use the service (CORS), such as https://lab.example; a list",
    )
    token: str | None = Field(
        default=None,
        min_length=LEAST_TOKEN,
        description="admin token; beyond loopback one is made where none is given",
    )
    session_s: int = Field(default=43_200, ge=60, description="a browser stays signed in for so long, s")
    tls_certfile: Path | None = Field(
        default=None, description="certificate chain (PEM): serve https and wss"
    )
    tls_keyfile: Path | None = Field(default=None, description="its private key (PEM)")
    root_path: str = Field(
        default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="prefix below which a proxy shows the service, such as /dvs, whether it strips it or not",
    )  # fmt: skip
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="addresses whose X-Forwarded-For and -Proto headers are believed; a list"
    )
    allowed_sources: tuple[str, ...] = Field(
        default=(),
        description="what the service may fetch from: udp://HOST:PORT, dv://HOST:PORT, rtsp://HOST[:PORT], usb:, "
        "webcam:N, or a folder of files; HOST may be a network such as 10.0.0.0/24; a list",
    )

    # Limits
    max_connections: int = Field(default=2000, ge=8, description="connections at a time")
    requests_per_minute: int = Field(default=6000, ge=1, description="requests of one client, per minute")
    failures_per_minute: int = Field(default=30, ge=1, description="wrong tokens of one client, per minute")
    max_body_bytes: int = Field(default=MIB, ge=1024, description="largest request that is no upload, bytes")
    header_timeout_s: float = Field(default=10, gt=0, description="a request's header comes within, s")
    body_timeout_s: float = Field(default=30, gt=0, description="a body may stand still for so long, s")
    slowest_body_bytes_s: int = Field(
        default=1024, ge=1, description="a body that comes slower than this is given up, bytes/s"
    )
    message_timeout_s: float = Field(default=20, gt=0, description="a WebSocket message comes within, s")
    ping_s: float = Field(
        default=20, gt=0, description="between pings of a WebSocket, and until one is missed, s"
    )

    # Streams
    stream_policy: Literal["lossless", "realtime"] = Field(
        default="lossless", description="policy of streams that state none: lossless or realtime"
    )
    stream_max_latency_ms: float = Field(
        default=100,
        gt=0,
        le=60_000,
        description="latency that realtime streams aim at where they state none, ms",
    )
    stream_max_stride: int = Field(
        default=1, ge=1, le=1024,
        description="under overload detectors evaluate at every n-th position, up to this n, before anything is "
        "shed; 1: never",
    )  # fmt: skip
    stream_threads: int = Field(
        default=1, ge=1, le=64,
        description="threads that work on a stream whose pipeline states none, at most the processors there are",
    )  # fmt: skip
    max_streams: int = Field(default=64, ge=1, description="streams kept at a time")
    max_frame_bytes: int = Field(default=4 * MIB, ge=1024, le=64 * MIB, description="largest frame, bytes")
    streams_memory_bytes: int | None = Field(
        default=None, ge=MIB,
        description="what the pipelines of all streams may hold; default: half of what the process may use, bytes",
    )  # fmt: skip
    window_bytes: int = Field(
        default=16 * MIB, ge=MIB, description="frames of a stream that wait in memory, bytes"
    )
    retention_bytes: int = Field(
        default=64 * MIB, ge=MIB, description="rows of an output that are kept for subscribers, bytes"
    )
    snapshot_bytes: int = Field(
        default=32 * MIB,
        ge=65_536,
        description="frames of a lossless stream that are logged between snapshots, bytes",
    )
    max_recording_bytes: int = Field(
        default=1024 * MIB, ge=MIB, description="frames that are kept of a stream with `record`, bytes"
    )
    fsync: bool = Field(default=False, description="whether a frame is durable only once it is on the disk")
    slow_subscriber_s: float = Field(default=60, gt=0, description="a subscriber may take this long to read")
    keep_ended_s: float = Field(
        default=600, gt=0, description="an ended stream's results stay for so long, s"
    )

    # Jobs, uploads and the disk
    max_upload_bytes: int = Field(default=2048 * MIB, ge=MIB, description="largest upload, bytes")
    max_uploads_bytes: int = Field(
        default=8192 * MIB, ge=MIB, description="all uploads that wait for a job, bytes"
    )
    keep_uploads_s: float = Field(
        default=86_400, gt=0, description="an upload that nobody goes on with stays, s"
    )
    parallel_jobs: int = Field(default=1, ge=1, le=64, description="jobs that run at a time")
    max_queued_jobs: int = Field(default=1000, ge=1, description="jobs that may wait")
    job_memory_bytes: int = Field(
        default=8192 * MIB, ge=512 * MIB, description="address space of a job, bytes"
    )
    job_nice: int = Field(
        default=10,
        ge=0,
        le=19,
        description="nice value of job processes: 0 competes with streams, 19 gives way to them",
    )
    job_seconds: int = Field(default=3600, ge=1, description="processor time of a job, s")
    job_file_bytes: int = Field(
        default=8192 * MIB, ge=MIB, description="largest file that a job may write, bytes"
    )
    job_attempts: int = Field(
        default=3, ge=1, description="how often a job is begun before it counts as failed"
    )
    keep_jobs_s: float = Field(
        default=7 * 86_400, gt=0, description="a job that is over stays for so long, s"
    )
    keep_jobs_bytes: int = Field(
        default=16_384 * MIB, ge=MIB, description="files of jobs that are kept, the oldest go first, bytes"
    )
    min_free_bytes: int = Field(
        default=128 * MIB,
        ge=0,
        description="room that the disk must have for the service to take work, bytes",
    )

    plugins: tuple[str, ...] = Field(
        default=(),
        description="installed distributions whose stages, formats and live sources are loaded; their code runs with "
        "all rights of the service; a list",
    )

    # Nobody watching
    autostart: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="streams that are opened at the start and again whenever they end, as POST /v1/streams takes "
        "them, each with a name; a list",
    )
    publish: tuple[PublishTo, ...] = Field(
        default=(),
        description="who is told answers: MQTT brokers and webhooks; a list of {name, to, ...}, see edge.md",
    )

    # Operation
    log_format: Literal["json", "text"] = Field(default="json", description="of the log: json or text")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="from which level on lines are logged"
    )
    drain_s: float = Field(
        default=8, gt=1, le=60, description="a shutdown waits at most this long for clients, s"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="where traces are sent over OTLP/HTTP (extra `otel`), such as http://host:4318",
    )

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
    def folders(self) -> tuple[Path, ...]:
        """The folders in the data folder that a service works in."""
        return self.streams_dir, self.jobs_dir, self.uploads_dir, self.scratch_dir

    @property
    def streams_dir(self) -> Path:
        """Logs and rows of streams."""
        return self.data_dir / "streams"

    @property
    def jobs_dir(self) -> Path:
        """Uploads and artifacts of jobs."""
        return self.data_dir / "jobs"

    @property
    def scratch_dir(self) -> Path:
        """What nobody needs after a restart."""
        return self.data_dir / "scratch"

    @property
    def uploads_dir(self) -> Path:
        """Uploads that wait for a job."""
        return self.data_dir / "uploads"
