"""Structured lines on stderr: JSON for machines, text for people."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from service.access.redaction import masked_within
from service.monitoring.repeated_lines import WINDOW_S, Repeats
from service.settings import Settings

_WARNING = frozenset({"warning", "error", "critical", "exception"})
_CAUSE = (
    "event", "status", "method", "client", "who", "code", "part", "receiver", "id", "stream", "name", "why",
    "problem", "detail",
)  # fmt: skip
"""Lines that agree in these are of one cause: who was refused, and which stream failed why, is never summed away."""
_REFUSED = 400
repeats = Repeats()
"""Of this process."""


def _once_in_a_while(logger: Any, method: str, line: Any) -> Any:
    """Say a warning or a refusal a few times, and then how often it came again."""
    refused = method == "info" and int(line.get("status") or 0) >= _REFUSED
    if "repeated" in line or not (method in _WARNING or refused):
        return line
    cause = (method, *(str(line.get(name)) for name in _CAUSE))

    def sum_up(n: int) -> None:
        said = {name: line[name] for name in _CAUSE[1:] if name in line}
        structlog.get_logger().log(_LEVELS[method], line["event"], repeated=n, in_s=WINDOW_S, **said)

    if not repeats.says(cause, sum_up):
        raise structlog.DropEvent
    return line


_LEVELS = {"info": 20, "warning": 30, "error": 40, "exception": 40, "critical": 50}


class _Seldom(logging.Filter):
    """The same for lines of the libraries."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is said; without what addresses in it should not show."""
        template = str(record.msg)[:200]
        record.msg, record.args = masked_within(record.getMessage()), ()
        if getattr(record, "repeated", False):
            return True

        def sum_up(n: int) -> None:
            logging.getLogger(record.name).log(
                record.levelno,
                "%s (%d more in %g s)",
                masked_within(template),
                n,
                WINDOW_S,
                extra={"repeated": True},
            )

        return repeats.says((record.name, record.levelno, template), sum_up)


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
        processors=[_once_in_a_while, *shared[1:], structlog.processors.format_exc_info, renderer],
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
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
