"""``polychrony serve``: the service."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer

from service.cli.configuration import (
    BadSetting,
    load_plugins,
    read_settings,
    take_over_what_users_keep,
    with_token,
)
from service.cli.console import LOUDNESS, tell
from service.host import descriptors
from service.serving.exit import leave_within
from service.serving.resolver import Loop
from service.serving.server import Server, address, listen, server
from service.settings import Settings
from service.storage.backends import Backends
from service.storage.files.data_lock import locked
from service.storage.files.job_queue import DATABASE, check_version
from service.storage.files.snapshots import key_of

_SWITCH_S = 0.0005
"""How long a thread may keep Python to itself: the loop waits for streams' threads no longer than that."""
_LEAVE_S = 1.0
"""What is left then waits for others, such as a resolver."""
_FORCED_S = 5.0
"""Whoever was told twice to end has not let go of its files yet."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; default 8700, 0 for a free one.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data", help="Where streams and jobs are kept; default .polychrony.")
    ] = None,
) -> int:
    """Run the service. Other settings come from polychrony.toml or the environment: see `polychrony config`."""
    level = "debug" if LOUDNESS["verbose"] else "warning" if LOUDNESS["quiet"] else None
    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir, "log_level": level}
    settings = with_token(
        read_settings(**{name: value for name, value in given.items() if value is not None})
    )
    load_plugins(settings)
    descriptors.raise_limit()
    with locked(settings.data_dir):
        take_over_what_users_keep(settings.data_dir)
        for folder in settings.folders:
            if folder.exists() and not folder.is_dir():
                raise BadSetting(f"{folder}: is no folder: move it away, and the service makes one")
        check_version(settings.data_dir / DATABASE)
        key_of(Backends.embedded(settings).secrets)
        return _run(settings)


def _run(settings: Settings) -> int:
    listening = listen(settings)
    tell(f"polychrony: listening on {address(settings, listening)}")
    for ending in (signal.SIGTERM, signal.SIGINT):
        # uvicorn drains on these, then raises them again for whoever listened before: being told to end
        # and ending is a success.
        signal.signal(ending, _noted)
    sys.setswitchinterval(_SWITCH_S)
    if settings.cores is not None:
        use_cores(settings.cores)
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_serve(server(settings), listening))


async def _serve(running: Server, listening: socket.socket) -> int:
    try:
        await running.serve(sockets=[listening])
    finally:
        status = 0 if running.started else 1  # what kept it from starting is in the log
        leave_within(_FORCED_S if running.force_exit else _LEAVE_S, status)
    return status


def use_cores(n: int) -> None:
    """Have libraries, in this process and its children, use so many threads."""
    cv2.setNumThreads(n)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(n))


def _noted(_signal: int, _frame: object) -> None:
    """uvicorn has seen to it."""
