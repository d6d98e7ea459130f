"""Traces over OTLP (extra ``otel``): a span a request and socket, where ``otlp_endpoint`` is set."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from fastapi import FastAPI

from pipeline.errors import UserError
from service.access.redaction import HIDDEN, masked, masked_all, without_query
from service.settings import Settings

_WITH_QUERY = frozenset({"http.target", "http.url", "url.full"})
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+")
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
    exporter = otlp.OTLPSpanExporter(endpoint=url)
    send = exporter.export
    exporter.export = partial(_send_masked, send, sdk.ReadableSpan)
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    # One span a request: not one for each message of a socket.
    app.add_middleware(
        asgi.OpenTelemetryMiddleware, tracer_provider=provider, exclude_spans=["receive", "send"],
        excluded_urls="healthz,readyz,metrics",
    )  # fmt: skip


def _send_masked(send: Callable[[list[Any]], Any], readable: Any, spans: Iterable[Any]) -> Any:
    return send([_masked(readable, span) for span in spans])


def _masked(readable: Any, span: Any) -> Any:
    """A span that carries no query, user or password."""
    return readable(
        name=span.name, context=span.context, parent=span.parent, resource=span.resource,
        attributes=_of_all(span.attributes), events=[_Event(one) for one in span.events], links=span.links,
        kind=span.kind, status=span.status, start_time=span.start_time, end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )  # fmt: skip


def _of_all(attributes: Any) -> dict[str, Any]:
    return {
        key: HIDDEN
        if key == "url.query" and one
        else without_query(one)
        if key in _WITH_QUERY
        else masked_all(one)
        for key, one in (attributes or {}).items()
    }


class _Event:
    """What happened in a span, such as an exception: its words may hold an address."""

    def __init__(self, event: Any) -> None:
        self.name, self.timestamp = event.name, event.timestamp
        self.attributes = {
            key: _ADDRESS.sub(lambda found: masked(found[0]), one) if isinstance(one, str) else one
            for key, one in (event.attributes or {}).items()
        }
        self.dropped_attributes = event.dropped_attributes


async def close(app: FastAPI) -> None:
    """Send the last spans, if somebody takes them in time."""
    spans: Any = getattr(app.state, "spans", None)
    if spans is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.to_thread(spans.shutdown)
