"""What is wrong with the box: each check looks at one thing that the service needs, and says how to mend it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import importlib.util
import os
import platform
import shutil
import socket
import sqlite3
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import numba
import numba.core.config as numba_config

from pipeline import plugins
from pipeline.errors import UserError
from pipeline.warm import on_compilation, warm
from service.access import allowed_sources
from service.health.readiness import disk_trouble
from service.host import limits
from service.host.shipped_kernels import missing_features
from service.publishing.publisher import check as check_receivers
from service.settings import MIB, Settings
from service.storage.files.job_queue import DATABASE, SCHEMA, NewerData, check_version
from service.streams import autostart

Level = Literal["ok", "note", "warning", "wrong"]
_EXTRAS = {
    "mqtt": ("aiomqtt", "publishing to MQTT brokers"),
    "camera": ("neuromorphic_drivers", "event cameras on USB"),
    "dv": ("dv_processing", "dv://, AEDAT4 through dv-processing"),
    "otel": ("opentelemetry.sdk", "traces"),
}
_MADE_S = 1_760_000_000
"""No clock that is right says less."""
_SLOW_SYNC_MS = 50.0
_SMALL_BYTES = 400 * MIB
_TIME_ERROR = 5
"""What adjtimex(2) answers while nobody has set the clock."""


@dataclass(frozen=True)
class Finding:
    """What one look found.

    Attributes:
        part: what was looked at.
        level: wrong: the service cannot run so; warning: it runs, and worse than it could.
        said: one line.
        mend: what to do about it.
    """

    part: str
    level: Level
    said: str
    mend: str = ""


def examine(settings: Settings, kernels: bool = True) -> Iterator[Finding]:
    """Look at everything, one after the other.

    Args:
        settings: of the service that shall run here.
        kernels: whether to load every kernel, which compiles those that are not cached.
    """
    looks: list[Callable[[Settings], Iterator[Finding]]] = [
        _machine, _memory, _clock, _disk, _data, _port, _tls, _cameras, _extras, _plugins, _autostart, _receivers,
    ]  # fmt: skip
    if kernels:
        looks.insert(1, _kernels)
    for look in looks:
        try:
            yield from look(settings)
        except Exception as problem:  # a look that fails must not hide the others
            yield Finding(look.__name__.lstrip("_"), "warning", f"cannot be looked at: {problem}")


def _machine(_: Settings) -> Iterator[Finding]:
    arch = platform.machine()
    said = f"{arch}, {limits.cores()} cores, Python {platform.python_version()}, numba {numba.__version__}"
    named = os.environ.get("NUMBA_CPU_NAME")
    if missing := missing_features():
        yield Finding(
            "processor", "warning", f"{said}; it lacks {', '.join(missing)}",
            "kernels are compiled for it at the first start instead of coming with the image",
        )  # fmt: skip
    else:
        yield Finding("processor", "ok", said + (f"; kernels for {named}" if named else ""))


def _kernels(_: Settings) -> Iterator[Finding]:
    compiled: list[str] = []
    on_compilation(compiled.append)
    started = time.monotonic()
    warm()
    took = f"{time.monotonic() - started:.1f} s"
    where = Path(os.environ.get("NUMBA_CACHE_DIR") or getattr(numba_config, "CACHE_DIR", "") or "?")
    if not compiled:
        yield Finding("kernels", "ok", f"all loaded from {where} in {took}, none compiled")
    elif os.access(where, os.W_OK):
        yield Finding(
            "kernels", "note", f"{len(compiled)} compiled in {took}; the next start finds them in {where}"
        )
    else:
        yield Finding(
            "kernels", "warning", f"{len(compiled)} compiled in {took}, and {where} cannot be written to",
            "let the service write there, or set NUMBA_CACHE_DIR: else every start compiles",
        )  # fmt: skip


def _memory(settings: Settings) -> Iterator[Finding]:
    has = limits.memory_bytes()
    said = f"{has / MIB:.0f} MiB may be used"
    if has < _SMALL_BYTES:
        yield Finding(
            "memory", "warning", f"{said}, and the service needs {_SMALL_BYTES / MIB:.0f} with one stream"
        )
    elif settings.memory_bytes and settings.memory_bytes > has:
        yield Finding(
            "memory", "wrong", f"{said}, less than memory_bytes = {settings.memory_bytes / MIB:.0f} MiB",
            "give the container more, or lower memory_bytes",
        )  # fmt: skip
    elif settings.profile == "standard" and has < 2048 * MIB:
        yield Finding("memory", "note", said, 'profile = "edge" fits the queues to it')
    else:
        yield Finding("memory", "ok", said)


def _clock(_: Settings) -> Iterator[Finding]:
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() < _MADE_S:
        yield Finding(
            "clock", "wrong", f"it says {now}", "set the clock: tokens, certificates and files need it"
        )
        return
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    ticks = source.read_text().strip() if source.exists() else "unknown"
    if sys.platform == "linux" and _adjtimex() == _TIME_ERROR:
        yield Finding(
            "clock",
            "warning",
            f"{now}, by {ticks}; nothing keeps it right",
            "run chrony or systemd-timesyncd",
        )
    else:
        yield Finding("clock", "ok", f"{now}, by {ticks}, synchronised")


def _adjtimex() -> int:
    room = ctypes.create_string_buffer(512)  # struct timex with modes = 0: nothing is changed
    return int(ctypes.CDLL(None, use_errno=True).adjtimex(room))


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        yield Finding("disk", "wrong", f"{folder} cannot be made: {problem.strerror}", _owner(folder.parent))
        return
    if trouble := disk_trouble(folder, settings.min_free_bytes):
        yield Finding("disk", "wrong", f"{folder}: {trouble}", _owner(folder))
        return
    free = shutil.disk_usage(folder).free
    took_ms = statistics.median(_syncs(folder)) * 1e3
    said = f"{folder}: {free / MIB:.0f} MiB free, a synchronised write takes {took_ms:.1f} ms"
    if took_ms > _SLOW_SYNC_MS:
        yield Finding("disk", "warning", said, "leave fsync off, or use a faster disk")
    else:
        yield Finding("disk", "ok", said)


def _owner(folder: Path) -> str:
    return f"this is user {os.getuid()}: let it write to {folder}"


def _syncs(folder: Path) -> Iterator[float]:
    path = folder / ".doctor"
    try:
        with path.open("wb") as file:
            for _ in range(9):
                started = time.monotonic()
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
                yield time.monotonic() - started
    finally:
        path.unlink(missing_ok=True)


def _data(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir / DATABASE
    try:
        version = check_version(path)
    except NewerData as problem:
        mend = "run the newer version, or give this one another data_dir"
        yield Finding("data", "wrong", str(problem), mend)
        return
    if not path.exists():
        yield Finding("data", "ok", "none yet")
        return
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        (sound,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if sound != "ok":
        yield Finding("data", "wrong", f"{path.name}: {sound}", "restore it from a copy")
    elif version < SCHEMA:
        yield Finding("data", "note", f"of version {version}; the next start brings them to {SCHEMA}")
    else:
        yield Finding("data", "ok", f"of version {version}")


def _port(settings: Settings) -> Iterator[Finding]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                yield _who_listens(settings)
            else:
                said = f"cannot listen on {settings.host}:{settings.port}: {problem.strerror}"
                yield Finding("port", "wrong", said, "choose another `host` or `port`")
            return
    yield Finding("port", "ok", f"{settings.port} on {settings.host} is free")


def _who_listens(settings: Settings) -> Finding:
    scheme = "https" if settings.tls_certfile else "http"
    try:
        # It is our own machine, under a name that its certificate need not have.
        answer = httpx.get(f"{scheme}://127.0.0.1:{settings.port}/readyz", timeout=5, verify=False)  # noqa: S501
        said = answer.json()
        if answer.is_success:
            return Finding("port", "ok", f"a service runs on {settings.port}, and it is ready")
        return Finding("port", "warning", f"a service runs on {settings.port}: {said['detail']}")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding(
            "port", "wrong", f"{settings.port} is taken by another program", "choose another `port`"
        )


def _tls(settings: Settings) -> Iterator[Finding]:
    if settings.tls_certfile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile)
        except (OSError, ssl.SSLError) as problem:
            yield Finding("tls", "wrong", f"{settings.tls_certfile}: {problem}", "certificate and key as PEM")
        else:
            yield Finding("tls", "ok", f"{settings.tls_certfile} and its key fit")
    elif not settings.loopback:
        yield Finding(
            "tls", "note", f"plain http on {settings.host}: tokens travel in the clear",
            "set tls_certfile, or put a proxy in front",
        )  # fmt: skip


def _cameras(_: Settings) -> Iterator[Finding]:
    video = sorted(Path("/dev").glob("video*"))
    shut = [path.name for path in video if not os.access(path, os.R_OK | os.W_OK)]
    if shut:
        yield Finding(
            "camera", "wrong", f"no right to use {', '.join(shut)}", "add the user to the group video"
        )
    elif video:
        yield Finding("camera", "ok", ", ".join(path.name for path in video))
    else:
        yield Finding("camera", "note", "no webcam under /dev", "a container sees those that it is given")
    if _installed("neuromorphic_drivers"):
        yield from _event_cameras()


def _event_cameras() -> Iterator[Finding]:
    try:
        devices = importlib.import_module("neuromorphic_drivers").list_devices()
    except (RuntimeError, OSError) as problem:
        yield Finding(
            "camera", "note", f"no USB bus to look at: {problem}", "a container sees the one that it is given"
        )
        return
    for device in devices:
        if getattr(device, "error", None):
            yield Finding("camera", "wrong", f"{device}", "udev rules: docker/99-event-cameras.rules")
        else:
            yield Finding("camera", "ok", f"{device}")
    if not devices:
        yield Finding("camera", "note", "no event camera on USB")


def _extras(_: Settings) -> Iterator[Finding]:
    missing = [f"{name} ({what})" for name, (module, what) in _EXTRAS.items() if not _installed(module)]
    yield Finding("extras", "ok", f"not installed: {', '.join(missing)}" if missing else "all installed")


def _plugins(settings: Settings) -> Iterator[Finding]:
    for name in settings.plugins:
        try:
            [plugin] = plugins.load([name])
        except UserError as problem:
            yield Finding(
                "plug-in", "wrong", str(problem), "install it beside Polychrony, or take it off the list"
            )
        else:
            yield Finding("plug-in", "ok", f"{plugin.name} {plugin.version}: {', '.join(plugin.adds)}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _autostart(settings: Settings) -> Iterator[Finding]:
    for one in autostart.read(settings) if settings.autostart else []:
        name, source = one.request.name, one.request.source
        try:
            asyncio.run(allowed_sources.look_up(source.address if source else "", settings.allowed_sources))
        except (allowed_sources.NotAllowed, UserError) as problem:
            yield Finding("autostart", "wrong", f"{name}: {problem}", "list it in allowed_sources")
        else:
            yield Finding("autostart", "ok", f"{name}: its source may be fetched from")


def _receivers(settings: Settings) -> Iterator[Finding]:
    try:
        check_receivers(settings.publish)
    except UserError as problem:
        yield Finding("publish", "wrong", str(problem))
        return
    for to in settings.publish:
        try:
            with socket.create_connection((to.address.hostname or "", to.port), timeout=3):
                yield Finding("publish", "ok", f"{to.name}: {to.address.netloc} answers")
        except OSError as problem:
            said = f"{to.name}: {to.address.netloc}: {problem.strerror or problem}"
            yield Finding("publish", "warning", said, "answers wait on disk until it is there")
