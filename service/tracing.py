"""Traces over OTLP (extra ``otel``): a span a request and socket, where ``otlp_endpoint`` is set."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import suppress
from typing import Any

from fastapi import FastAPI

from pipeline.errors import UserError
from service.settings import Settings

CLOSE_S = 1.5
"""What a collector is given to take the last spans."""


class TracingUnavailable(UserError):
    """Traces are wanted, and what sends them is not installed."""


def install(app: FastAPI, settings: Settings) -> None:
    """Trace every request, where that is wanted.

    Raises:
        TracingUnavailable: the extra is missing.
    """
    if settings.otlp_endpoint is None:
        return
    try:
        sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
        export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
        resources: Any = importlib.import_module("opentelemetry.sdk.resources")
        otlp: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        asgi: Any = importlib.import_module("opentelemetry.instrumentation.asgi")
    except ImportError as problem:
        raise TracingUnavailable("otlp_endpoint: install polychrony with the extra otel") from problem
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": "polychrony"}))
    app.state.spans = provider
    url = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter(endpoint=url)))
    # One span a request: not one for each message of a socket.
    app.add_middleware(
        asgi.OpenTelemetryMiddleware, tracer_provider=provider, exclude_spans=["receive", "send"],
        excluded_urls="healthz,readyz,metrics",
    )  # fmt: skip


async def close(app: FastAPI) -> None:
    """Send the last spans, if somebody takes them in time."""
    spans: Any = getattr(app.state, "spans", None)
    if spans is not None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(spans.shutdown), CLOSE_S)
