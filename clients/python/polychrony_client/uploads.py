"""Uploads that go on where they broke off (tus 1.0)."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from polychrony_client.errors import Refused, Unreachable
from polychrony_client.transport import Transport, is_lost

Progress = Callable[[int, int], None]
"""Called with (bytes that came, all bytes)."""
PART = 8 << 20
VERSION = {"Tus-Resumable": "1.0.0"}


def nobody(_came: int, _all: int) -> None:
    """Whom progress is told where nobody asked."""


def create_headers(name: str, length: int, format_: str | None = None) -> dict[str, str]:
    """Of the request that begins an upload; the format of a file whose content does not show it."""
    told = {"filename": name} | ({"format": format_} if format_ else {})
    pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())
    return {**VERSION, "Upload-Length": str(length), "Upload-Metadata": pairs}


def part_headers(offset: int) -> dict[str, str]:
    """Of a request that goes on with one."""
    return {**VERSION, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}


def job_document(upload: str, pipeline: str | dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What a job is asked for with."""
    rest = {name: value for name, value in options.items() if value is not None}
    return {"upload": upload, "pipeline": pipeline, **rest}


def send_file(transport: Transport, path: Path, progress: Progress, format_: str | None = None) -> str:
    """Upload a file; the upload's id."""
    with path.open("rb") as file:
        return _send(transport, file, path.name, path.stat().st_size, progress, format_)


def send_bytes(transport: Transport, data: bytes, name: str) -> str:
    """Upload bytes; the upload's id."""
    return _send(transport, io.BytesIO(data), name, len(data), nobody)


def _send(
    transport: Transport,
    file: BinaryIO,
    name: str,
    length: int,
    progress: Progress,
    format_: str | None = None,
) -> str:
    headers = create_headers(name, length, format_)
    made = transport.request("POST", "/v1/uploads", headers=headers).json()
    url, offset = f"/v1/uploads/{made['id']}", 0
    deadline, pause = time.monotonic() + transport.patience_s, 0.05
    while offset < length:
        file.seek(offset)
        try:
            answer = transport.request("PATCH", url, content=file.read(PART), headers=part_headers(offset))
            offset = int(answer.headers["Upload-Offset"])
        except (Refused, Unreachable) as problem:
            conflict = isinstance(problem, Refused) and problem.status in {
                409,
                423,
            }  # an earlier try still writes
            if (is_lost(problem) and not conflict) or time.monotonic() > deadline:
                raise
            time.sleep(pause)
            pause = min(2.0, pause * 2)
            offset = _offset(transport, url, offset)
        else:
            deadline, pause = time.monotonic() + transport.patience_s, 0.05
            progress(offset, length)
    return str(made["id"])


def _offset(transport: Transport, url: str, known: int) -> int:
    """How far the service has it; what was known where it does not answer."""
    try:
        return int(transport.request("HEAD", url, headers=VERSION).headers["Upload-Offset"])
    except Unreachable:
        return known
    except Refused as problem:
        if is_lost(problem):
            raise
        return known
