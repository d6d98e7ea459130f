"""``/healthz``, ``/readyz``, ``/metrics``: what watches the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from service.access.scopes import needs, open_to_all
from service.access.tokens import Scope
from service.http.problems import Problem, answers
from service.routes.answers import StatusAnswer
from service.routes.state import Service

router = APIRouter(tags=["operations"])


@router.get("/healthz", responses={200: {"model": StatusAnswer}})
@open_to_all(always=True)
async def healthz() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses=answers(StatusAnswer, 503))
@open_to_all(always=True)
async def readyz(service: Service) -> dict[str, Any]:
    """Whether it can take work; if not, which part is not ready."""
    waiting = {**service.not_ready, **({"draining": "the service is stopping"} if service.draining else {})}
    if waiting:
        parts = ", ".join(f"{part} ({why})" for part, why in sorted(waiting.items()))
        raise Problem(503, f"not ready: {parts}", sorted(waiting.items()))
    return {"status": "ready"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
@needs(Scope.READ)
async def metrics(service: Service) -> Response:
    """Figures for Prometheus."""
    return Response(service.telemetry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
