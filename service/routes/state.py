"""What routes find on the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.jobs import Jobs
from service.settings import Settings
from service.streams import Streams
from service.telemetry import Telemetry


@dataclass
class ServiceState:
    """The parts of a running service."""

    settings: Settings
    streams: Streams
    jobs: Jobs
    telemetry: Telemetry
    draining: bool = False
    not_ready: set[str] = field(default_factory=lambda: {"kernels", "store"})
    """Names of the parts that are not ready yet."""


def _state(connection: HTTPConnection) -> ServiceState:
    return connection.app.state.service


Service = Annotated[ServiceState, Depends(_state)]
