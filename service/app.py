"""The application: routes, the guard in front of them, and the parts behind them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from starlette.routing import Route

from pipeline.warm import on_compilation, warm
from service.access.guard import Guard
from service.access.rate_limiter import PerMinute
from service.access.scopes import Access, Scopes, declare
from service.access.sessions import Sessions
from service.access.tokens import Scope, Tokens
from service.health import collectors
from service.health.readiness import watch
from service.host import heap
from service.http import openapi, problems
from service.http.semantics import HttpSemantics
from service.jobs import Jobs
from service.monitoring import tracing
from service.monitoring.metrics import Telemetry
from service.publishing.publisher import Publishers
from service.routes import (
    health,
    ingest,
    jobs,
    models,
    page,
    pictures,
    pipelines,
    publishers,
    results,
    session,
    streams,
    uploads,
)
from service.routes.state import ServiceState
from service.settings import Settings
from service.storage.backends import Backends
from service.streams import Streams
from service.streams.autostart import AutostartStreams
from service.uploads import Uploads

_log = structlog.get_logger("service")


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application."""
    telemetry = Telemetry()
    storage = Backends.embedded(settings)
    tokens = Tokens(storage.secrets, settings.token, open_to_all=settings.loopback)
    known = Streams(settings, storage.streams)
    service = ServiceState(
        settings, known, Jobs(settings, storage.jobs), Uploads(settings, storage.uploads), tokens,
        Sessions(tokens, settings.session_s), PerMinute(settings.failures_per_minute), telemetry,
        AutostartStreams(settings, known), Publishers(settings, known, storage.outbox),
        storage.models, storage.pipelines,
    )  # fmt: skip
    telemetry.observe(lambda: collectors.look(service))
    app = FastAPI(
        title="Polychrony", version=version("polychrony"), lifespan=_lifespan, redoc_url=None, docs_url=None,
        openapi_url="/v1/openapi.json", generate_unique_id_function=problems.operation_id,
        description="Event-camera streams and videos in; motion motifs and fields out. "
        "Live streams go over WebSocket: see docs/protocol.md.",
        servers=[{"url": settings.root_path}] if settings.root_path else None,
    )  # fmt: skip
    app.state.service = service
    jobs.describe_body()
    for module in (
        streams,
        jobs,
        uploads,
        pipelines,
        models,
        publishers,
        session,
        health,
        ingest,
        pictures,
        results,
        page,
    ):
        app.include_router(module.router)
    app.mount("/static", page.static)
    for route in app.routes:
        if isinstance(route, Route) and route.path == app.openapi_url:
            declare(route.endpoint, Access(Scope.READ))
    scopes = Scopes(app.routes)
    scopes.check()
    problems.install(app)
    openapi.install(app)
    app.add_middleware(
        Guard, settings=settings, tokens=tokens, sessions=service.sessions, failures=service.failures,
        under_way=service.under_way, scopes=scopes,
    )  # fmt: skip
    app.add_middleware(HttpSemantics, prefix=settings.root_path)
    tracing.install(app, settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    service: ServiceState = app.state.service
    service.settings.data_dir.mkdir(parents=True, exist_ok=True)
    on_compilation(lambda _: service.telemetry.compilations.inc())
    shutil.rmtree(service.settings.scratch_dir, ignore_errors=True)
    service.settings.scratch_dir.mkdir()
    heap.settle()
    await service.uploads.open()
    await service.jobs.open()
    await service.streams.open()
    await service.publishers.open()
    service.not_ready.pop("store", None)
    works = (_warm(service), watch(service), service.under_way.watch())
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        service.draining = True
        for task in tasks:
            task.cancel()
        await service.standing.close()
        await service.publishers.close()
        await service.streams.close()
        await service.jobs.close()
        await tracing.close(app)


async def _warm(service: ServiceState) -> None:
    """Compile or load every kernel before the first event needs it."""
    try:
        await asyncio.to_thread(warm)
    except Exception as problem:
        service.not_ready["kernels"] = f"cannot be prepared: {type(problem).__name__}"
        _log.exception("kernels cannot be prepared")
        return
    service.not_ready.pop("kernels", None)
    await service.standing.open()
    _log.info("ready")
