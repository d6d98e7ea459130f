"""``polychrony serve``: the service."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from pipeline.errors import UserError
from service.cli.console import err, note
from service.jobs.store import DATABASE, check_version
from service.leaving import leave_within
from service.names import Loop
from service.server import Server, address, listen, server
from service.settings import Settings, config_file
from service.tokens import admin_token

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
    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    settings = with_token(
        read_settings(**{name: value for name, value in given.items() if value is not None})
    )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    check_version(settings.data_dir / DATABASE)
    listening = listen(settings)
    note(f"polychrony: listening on {address(settings, listening)}")
    for ending in (signal.SIGTERM, signal.SIGINT):
        # uvicorn drains on these, then raises them again for whoever listened before: being told to end
        # and ending is a success.
        signal.signal(ending, _noted)
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


def read_settings(**given: Any) -> Settings:
    """Settings from options, environment and file.

    Raises:
        BadSetting: one of them is wrong.
    """
    try:
        return Settings(**given)
    except (SettingsError, tomllib.TOMLDecodeError) as problem:
        where = config_file() if isinstance(problem, tomllib.TOMLDecodeError) else "environment"
        raise BadSetting(f"{where}: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        variable = f"POLYCHRONY_{str(first['loc'][0]).upper()}"
        inside = f": {path}" if len(first["loc"]) > 1 else ""
        where = f"{variable}{inside}" if variable in os.environ else f"{config_file()}: {path}"
        raise BadSetting(f"{where}: {first['msg']}") from problem


class BadSetting(UserError):
    """A setting that cannot be used."""


def with_token(settings: Settings) -> Settings:
    """Beyond loopback a token is demanded: the one that was set, else one kept in the data folder."""
    if settings.loopback or settings.token is not None:
        return settings
    token = admin_token(settings.data_dir)
    if err.is_terminal:
        note(f"polychrony: token {token}")
    else:
        note(f"polychrony: the token is in {settings.data_dir / 'token'}")
    return settings.model_copy(update={"token": token})
