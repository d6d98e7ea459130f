"""What keeps ``/readyz`` true: the disk, the workers, and streams that are held up."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from service.access.tokens import TokenError
from service.monitoring.logs import repeats

if TYPE_CHECKING:
    from service.routes.state import ServiceState
    from service.settings import Settings

_log = structlog.get_logger("service")
_EVERY_S = 1.0


async def watch(service: ServiceState) -> None:
    """Look for ever."""
    while True:
        try:
            _update_not_ready(service, await _check_parts(service))
            await asyncio.to_thread(_make_folders, service)
            await service.uploads.forget_old()
            await service.jobs.count()
            repeats.flush()
        except Exception:  # what cannot be looked at now may be looked at later
            _log.exception("the service could not be looked after")
        await asyncio.sleep(_EVERY_S)


def _make_folders(service: ServiceState) -> None:
    """What somebody removed from the data folder is made again: what was in it is lost, and work can go on."""
    settings = service.settings
    for folder in settings.folders:
        if settings.data_dir.is_dir() and not os.path.lexists(folder):
            folder.mkdir(exist_ok=True)
            _log.error("a folder was gone from the data folder, and is made again", folder=str(folder))


def _update_not_ready(service: ServiceState, seen: dict[str, str | None]) -> None:
    for part, why in seen.items():
        if why is None:
            if service.not_ready.pop(part, None):
                _log.info("ready again", part=part)
        elif service.not_ready.get(part) != why:
            service.not_ready[part] = why
            _log.warning("not ready", part=part, why=why)


async def _check_parts(service: ServiceState) -> dict[str, str | None]:
    troubles = [stream.trouble for stream in service.streams.all() if stream.trouble]
    disk = await asyncio.to_thread(disk_trouble, service.settings.data_dir, service.settings.min_free_bytes)
    return {
        "disk": disk or (troubles[0] if troubles else None),
        "jobs": None if service.jobs.alive else "a worker has ended",
        "folders": await asyncio.to_thread(_folder_trouble, service.settings),
        "tokens": _token_trouble(service),
    }


def _folder_trouble(settings: Settings) -> str | None:
    wrong = [folder.name for folder in settings.folders if os.path.lexists(folder) and not folder.is_dir()]
    return f"{', '.join(wrong)}: should be a folder of the data folder, and is none" if wrong else None


def _token_trouble(service: ServiceState) -> str | None:
    try:
        service.tokens.all()
    except TokenError as problem:
        if "tokens" not in service.not_ready:
            _log.error("nobody gets in", problem=str(problem))
        return "the file of tokens cannot be read"
    return None


def disk_trouble(folder: Path, min_free_bytes: int) -> str | None:
    """What is wrong with the disk that holds ``folder``; None where it can be written to."""
    try:
        if (free := shutil.disk_usage(folder).free) < min_free_bytes:
            return f"{free / 2**20:.0f} MiB are free, {min_free_bytes / 2**20:.0f} are needed"
        probe = folder / ".probe"
        with probe.open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as problem:
        return f"cannot be written to: {problem.strerror}"
    return None
