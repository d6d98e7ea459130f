"""Structured lines on stderr: JSON for machines, text for people."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from service.settings import Settings


def configure(settings: Settings, level: int | None = None) -> None:
    """Set up the lines of ours and of the libraries.

    Args:
        settings: of the service.
        level: in place of the one in the settings.
    """
    level = level or logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    shared: list[Any] = [
        structlog.stdlib.add_logger_name, structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]  # fmt: skip
    structlog.configure(
        processors=[*shared[1:], structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    formatting: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    if settings.log_format == "json":
        formatting.insert(1, structlog.processors.format_exc_info)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=formatting))
    # A refused upgrade is answered over HTTP; uvicorn takes the missing handshake for a fault.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "without completing handshake" not in record.getMessage()
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
