"""``/v1/publishers`` and ``/v1/autostart``: what the service does by itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import answers
from service.routes.answers import AutostartAnswer, PublishersAnswer
from service.routes.state import Service

router = APIRouter(prefix="/v1", tags=["operations"])


@router.get("/publishers", responses=answers(PublishersAnswer))
@needs(Scope.READ)
async def list_publishers(service: Service) -> dict[str, Any]:
    """Who is told answers, how many, and what waits for whom."""
    return {"publishers": service.publishers.describe()}


@router.get("/autostart", responses=answers(AutostartAnswer))
@needs(Scope.READ)
async def list_autostart(service: Service) -> dict[str, Any]:
    """The streams that the service keeps open, and why one is not."""
    return {"autostart": service.standing.describe()}
