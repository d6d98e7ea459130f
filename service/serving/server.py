"""The server around the application: sockets, TLS, limits, and an end that comes in time.

Told to end, it says so first: /readyz answers 503 and WebSockets are closed with 1012 while it still listens, so that
whoever watches it looks elsewhere. Then it stops listening, waits for requests under way, and goes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from pipeline.errors import UserError
from service.app import create_app
from service.host import descriptors
from service.monitoring import tracing
from service.monitoring.logs import configure
from service.serving.protocols import PatientWebSocket, with_limits
from service.settings import MIB, Settings

_NOTICE_S = 1.5
"""How long it says that it is going, before it does not listen any more."""
_STREAMS_S = 2.0
"""What streams and jobs are given to come to rest."""
_PUBLISH_S = 2.0
"""What receivers are given to hear the last of it, where there are any."""


class Server(uvicorn.Server):
    """uvicorn's server, which gives notice before it goes."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal gives notice; the second ends it at once."""
        if self._app.state.service.draining:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self._captured_signals.append(sig)
        self.give_notice()

    def give_notice(self) -> None:
        """Say that it is going; it goes a moment later."""
        self._app.state.service.draining = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.should_exit = True
            return
        loop.call_soon_threadsafe(self._close_sockets)
        loop.call_soon_threadsafe(loop.call_later, _NOTICE_S, self._go)

    def _close_sockets(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, PatientWebSocket):
                connection.shutdown()

    def _go(self) -> None:
        self.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """A socket that listens, so that its port is known before the service runs."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With its protocol said: asyncio sets TCP_NODELAY on connections of such a socket alone.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as problem:
        raise OSError(
            problem.errno, f"cannot listen on port {settings.port}: {problem.strerror}", settings.host
        ) from problem
    listening.listen(descriptors.BACKLOG)
    return listening


def address(settings: Settings, listening: socket.socket) -> str:
    """Where the dashboard is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_certfile else "http"
    return f"{scheme}://{host}:{listening.getsockname()[1]}/"


def server(settings: Settings, quiet: bool = False) -> Server:
    """The server around the application; ``quiet`` logs warnings and errors alone."""
    configure(settings, logging.WARNING if quiet else None)
    app = create_app(settings)
    http, websocket = with_limits(settings)
    config = uvicorn.Config(
        app, http=http, ws=websocket, ws_per_message_deflate=False,
        # Somewhat more than a frame, so that a slightly larger one gets its error in words.
        ws_max_size=settings.max_frame_bytes + MIB, ws_ping_interval=settings.ping_s, ws_ping_timeout=settings.ping_s,
        timeout_graceful_shutdown=max(1, int(settings.drain_s - _NOTICE_S - _rest_s(settings))),
        log_config=None, access_log=False, server_header=False, backlog=descriptors.BACKLOG, **_behind(settings),
    )  # fmt: skip
    return Server(config, app)


def _rest_s(settings: Settings) -> float:
    """What the end takes after the last request."""
    traces_s = tracing.CLOSE_S if settings.otlp_endpoint else 0.0
    return _STREAMS_S + (_PUBLISH_S if settings.publish else 0.0) + traces_s


def _behind(settings: Settings) -> dict[str, Any]:
    """What TLS and proxies take."""
    options: dict[str, Any] = {"proxy_headers": bool(settings.trusted_proxies)}
    if settings.trusted_proxies:
        options["forwarded_allow_ips"] = list(settings.trusted_proxies)
    if settings.tls_certfile:
        certificate, key = settings.tls_certfile, settings.tls_keyfile or settings.tls_certfile
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except OSError as problem:  # which names neither file
            why = problem.strerror or str(problem)
            raise UserError(
                f"tls_certfile {certificate}, tls_keyfile {key}: {why}; both are needed as PEM"
            ) from problem
        options |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    return options
