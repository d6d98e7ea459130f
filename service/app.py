"""The application: routes, the guard in front of them, and the parts behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from pipeline.warm import on_compilation, warm
from service import problems
from service.guard import Guard
from service.jobs import Jobs
from service.routes import health, ingest, jobs, models, page, pipelines, results, streams
from service.routes.state import ServiceState
from service.settings import Settings
from service.streams import Streams
from service.telemetry import Family, Telemetry

_log = structlog.get_logger("service")


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application."""
    telemetry = Telemetry()
    service = ServiceState(settings, Streams(settings), Jobs(settings), telemetry)
    telemetry.observe(lambda: _figures(service))
    app = FastAPI(
        title="Polychrony", version=version("polychrony"), lifespan=_lifespan, redoc_url=None, docs_url=None,
        openapi_url="/v1/openapi.json",
        description="Event-camera streams and videos in; motion motifs and fields out. "
        "Live streams go over WebSocket: see docs/protocol.md.",
    )  # fmt: skip
    app.state.service = service
    for module in (streams, jobs, pipelines, models, health, ingest, results, page):
        app.include_router(module.router)
    app.mount("/static", page.static)
    problems.install(app)
    app.add_middleware(Guard, settings=settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    service: ServiceState = app.state.service
    service.settings.data_dir.mkdir(parents=True, exist_ok=True)
    on_compilation(lambda _: service.telemetry.compilations.inc())
    await service.jobs.open()
    service.streams.open()
    service.not_ready.discard("store")
    warming = asyncio.create_task(_warm(service))
    try:
        yield
    finally:
        service.draining = True
        warming.cancel()
        await service.streams.close()
        await service.jobs.close()


async def _warm(service: ServiceState) -> None:
    """Compile or load every kernel before the first event needs it."""
    try:
        await asyncio.to_thread(warm)
    except Exception:
        _log.exception("kernels cannot be prepared")
        return
    service.not_ready.discard("kernels")
    _log.info("ready")


def _figures(service: ServiceState) -> Iterable[Family]:
    yield "gauge", "streams", "Streams by state", {k: float(n) for k, n in service.streams.counts().items()}
    totals: dict[str, float] = {"events": 0.0, "frames": 0.0}
    dropped: dict[str, float] = {}
    for stream in service.streams.all():
        stats = stream.stats()
        totals = {name: totals[name] + stats[name] for name in totals}
        for reason, n in stats["dropped"].items():
            dropped[reason] = dropped.get(reason, 0.0) + n
    yield "gauge", "streams_taken_in", "What the streams that are kept have taken in", totals
    yield "gauge", "streams_events_dropped", "Events that these streams dropped, by reason", dropped
