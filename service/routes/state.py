"""What routes find on the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.access.active_requests import ActiveRequests
from service.access.rate_limiter import PerMinute
from service.access.sessions import Sessions
from service.access.tokens import Tokens
from service.http.problems import Problem
from service.jobs import Jobs
from service.monitoring.metrics import Telemetry
from service.publishing.publisher import Publishers
from service.settings import Settings
from service.storage.ports import Catalogue
from service.streams import Streams
from service.streams.autostart import AutostartStreams
from service.uploads import Uploads


@dataclass
class ServiceState:
    """The parts of a running service."""

    settings: Settings
    streams: Streams
    jobs: Jobs
    uploads: Uploads
    tokens: Tokens
    sessions: Sessions
    failures: PerMinute
    telemetry: Telemetry
    standing: AutostartStreams
    publishers: Publishers
    models: Catalogue[Path]
    pipelines: Catalogue[str]
    under_way: ActiveRequests = field(default_factory=ActiveRequests)
    draining: bool = False
    not_ready: dict[str, str] = field(
        default_factory=lambda: {"kernels": "being prepared", "store": "not open yet"}
    )
    """Names of the parts that are not ready, and why."""

    def demand_ready(self) -> None:
        """Refuse what would be new work while it cannot be taken.

        Raises:
            Problem: 503.
        """
        if self.draining or self.not_ready:
            parts = ", ".join(f"{part} ({why})" for part, why in self.not_ready.items()) or "stopping"
            raise Problem(503, f"the service is not ready: {parts}", headers={"Retry-After": "2"})


def _state(connection: HTTPConnection) -> ServiceState:
    return connection.app.state.service


Service = Annotated[ServiceState, Depends(_state)]
