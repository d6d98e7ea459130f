"""``polychrony serve``: the service."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from pipeline.errors import UserError
from service.app import create_app
from service.cli.console import err, note
from service.settings import MIB, Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; default 8700, 0 for a free one.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data", help="Where streams and jobs are kept; default .polychrony.")
    ] = None,
) -> None:
    """Run the service. Every other setting is an environment variable: see docs/settings.md."""
    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    settings = with_token(
        read_settings(**{name: value for name, value in given.items() if value is not None})
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    listening = listen(settings)
    note(f"polychrony: listening on {address(settings, listening)}")
    for ending in (signal.SIGTERM, signal.SIGINT):
        # uvicorn drains on these, then raises them again for whoever listened before: being told to end
        # and ending is a success.
        signal.signal(ending, _noted)
    asyncio.run(server(settings).serve(sockets=[listening]))


def _noted(_signal: int, _frame: object) -> None:
    """uvicorn has seen to it."""


def read_settings(**given: Any) -> Settings:
    """Settings from options and environment.

    Raises:
        BadSetting: one of them is wrong.
    """
    try:
        return Settings(**given)
    except SettingsError as problem:
        raise BadSetting(f"environment: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        name = str(first["loc"][0])
        raise BadSetting(f"POLYCHRONY_{name.upper()}: {first['msg']}") from problem


class BadSetting(UserError):
    """A setting that cannot be used."""


def listen(settings: Settings) -> socket.socket:
    """A socket that listens, so that its port is known before the service runs."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as problem:
        raise OSError(
            problem.errno, f"cannot listen on port {settings.port}: {problem.strerror}", settings.host
        ) from problem
    listening.listen(2048)
    return listening


def address(settings: Settings, listening: socket.socket) -> str:
    """Where the dashboard is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}/"


def server(settings: Settings, quiet: bool = False) -> uvicorn.Server:
    """The server around the application; ``quiet`` logs warnings and errors alone."""
    _configure_logging(logging.WARNING if quiet else logging.INFO)
    return uvicorn.Server(
        uvicorn.Config(
            create_app(settings), ws="websockets-sansio", ws_per_message_deflate=False,
            # Somewhat more than a frame, so that a slightly larger one gets its error in words.
            ws_max_size=settings.max_frame_bytes + MIB, ws_ping_interval=20, ws_ping_timeout=20,
            timeout_graceful_shutdown=5, log_config=None, access_log=False, server_header=False,
        )
    )  # fmt: skip


def with_token(settings: Settings) -> Settings:
    """Beyond loopback a token is demanded: the one that was set, else one kept in the data folder."""
    if settings.loopback or settings.token is not None:
        return settings
    path = settings.data_dir / "token"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    token = path.read_text().strip()
    if err.is_terminal:
        note(f"polychrony: token {token}")
    else:
        note(f"polychrony: the token is in {path}")
    return settings.model_copy(update={"token": token})


def _configure_logging(level: int) -> None:
    """Structured lines on stderr, of ours and of uvicorn's."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
