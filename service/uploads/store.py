"""Uploads on disk: the bytes in one file, what is known of them beside it.

How far an upload has come is the length of its file and nothing else, so that a kill at any moment leaves nothing to
disagree with it. (Considered: tuspyserver. It keeps the offset in a file beside the bytes, writes that when a request
ends, and appends: after a kill in between, bytes come twice.)
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from pipeline.sources import HEAD_BYTES, SourceError, check_head
from pipeline.writing import replace_file, sync_folder
from service.host.ages import Ages
from service.http.problems import Problem
from service.settings import Settings
from service.storage.files.reading import read_file

_log = structlog.get_logger("uploads")
_MOST = 1000
_ASIDE = ".damaged"
_LOOK_EVERY = 16 * 2**20
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class Upload:
    """One upload.

    Attributes:
        id: its name.
        path: its bytes so far.
        length: bytes when it is complete.
        metadata: what the client said of it.
        lock: held by the one request that adds to it.
    """

    id: str
    path: Path
    length: int
    metadata: dict[str, str]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def offset(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size

    @property
    def complete(self) -> bool:
        """Whether all of them are."""
        return self.offset == self.length

    @property
    def name(self) -> str:
        """What its client calls the file."""
        return display_name(self.metadata.get("filename", ""))


class Uploads:
    """The uploads of the service; belongs to the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, settings.uploads_dir
        self._uploads: dict[str, Upload] = {}
        self._ages = Ages()
        self._passing: dict[int, int] = {}
        """Bytes that are still to come of each body that is taken in by one request."""

    def open(self) -> None:
        """Find what an earlier run left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._settings.fsync:
            sync_folder(self._folder.parent)
        for card in self._folder.glob("*.json"):
            path = card.with_suffix(".bin")
            try:
                document = json.loads(read_file(card))
                if not _ID.fullmatch(card.stem) or not path.is_file():
                    raise ValueError(card.stem)
                self._uploads[card.stem] = Upload(
                    card.stem, path, int(document["length"]), document["metadata"]
                )
            except (OSError, ValueError, KeyError, TypeError) as problem:
                _log.error("an upload cannot be gone on with", id=card.stem, problem=str(problem))
        for path in self._folder.iterdir():
            if path.stem not in self._uploads and not path.name.endswith(_ASIDE):
                self._leave_or_remove(path)

    def _leave_or_remove(self, path: Path) -> None:
        """What is left of an upload that is none: what was only begun goes, bytes that were taken in are kept."""
        begun = path.name.endswith(".part") or (path.suffix == ".bin" and path.stat().st_size == 0)
        if not path.is_file():
            _log.warning("something that is no upload lies in the folder of uploads", name=path.name)
        elif begun:
            path.unlink(missing_ok=True)
        else:
            path.rename(path.with_name(path.name + _ASIDE))
            _log.error("a damaged upload is set aside", name=path.name + _ASIDE)

    def create(self, length: int, metadata: dict[str, str]) -> Upload:
        """Make room for an upload.

        Raises:
            Problem: it is too large, or there is no room.
        """
        settings = self._settings
        if length > settings.max_upload_bytes:
            raise Problem(413, f"Upload-Length: at most {settings.max_upload_bytes} bytes")
        if len(self._uploads) >= _MOST:
            raise Problem(
                507, f"{_MOST} uploads wait already: delete one, or wait until one is used or expires"
            )
        reserved = sum(one.length for one in self._uploads.values())
        if reserved + length > settings.max_uploads_bytes:
            raise Problem(
                507, "as many uploads wait as may: delete one, or wait until one is used or expires"
            )
        self._demand_room(length)
        id_ = secrets.token_hex(16)
        path = self._folder / f"{id_}.bin"
        path.touch(mode=0o600)
        card = json.dumps({"length": length, "metadata": metadata}).encode()
        replace_file(path.with_suffix(".json"), card, settings.fsync)
        upload = self._uploads[id_] = Upload(id_, path, length, metadata)
        return upload

    @contextmanager
    def passing(self, content_length: str) -> Generator[Callable[[int], None]]:
        """Room on the disk for a body that one request brings; the function is told how much of it has come.

        Raises:
            Problem: there is none, or it is gone meanwhile.
        """
        length = int(content_length) if re.fullmatch(r"[0-9]{1,18}", content_length) else 0
        self._demand_room(length)
        number = max(self._passing, default=0) + 1
        self._passing[number] = length
        looked_at = 0

        def came(seen: int) -> None:
            nonlocal looked_at
            self._passing[number] = max(0, length - seen)
            if seen - looked_at >= _LOOK_EVERY:
                looked_at = seen
                self._demand_room(0)

        try:
            yield came
        finally:
            del self._passing[number]

    def _demand_room(self, length: int) -> None:
        ahead = sum(one.length - one.offset for one in self._uploads.values()) + sum(self._passing.values())
        if shutil.disk_usage(self._folder).free - ahead - length < self._settings.min_free_bytes:
            raise Problem(507, "the disk has no room for it", headers={"Connection": "close"})

    def get(self, id_: str) -> Upload | None:
        """The upload of this name."""
        return self._uploads.get(id_)

    async def append(self, upload: Upload, offset: int, chunks: AsyncIterator[bytes]) -> int:
        """Add what comes behind ``offset``; where it ends. What came before a failure is kept.

        Raises:
            Problem: another request is adding, the offset is wrong, more comes than was said, or its first bytes
                are of nothing that is read.
        """
        if upload.lock.locked():
            raise Problem(423, "another request adds to this upload")
        async with upload.lock:
            if offset != upload.offset:
                raise Problem(409, f"Upload-Offset: the upload is at {upload.offset}")
            file = os.open(upload.path, os.O_WRONLY)
            enough = min(HEAD_BYTES, upload.length)
            try:
                async for chunk in chunks:
                    if offset + len(chunk) > upload.length:
                        raise Problem(413, f"more bytes than Upload-Length says: {upload.length}")
                    await _whole(asyncio.to_thread(_write, file, chunk, offset))
                    before, offset = offset, offset + len(chunk)
                    self._ages.begin(upload.id)
                    if before < enough <= offset:
                        self._demand_readable(upload)
            finally:
                if self._settings.fsync:  # what is told to have come is the length of the file, and not zeros
                    await _whole(asyncio.to_thread(os.fdatasync, file))
                os.close(file)
        return offset

    def _demand_readable(self, upload: Upload) -> None:
        """Look at its first bytes; what cannot be read is forgotten.

        Raises:
            Problem: it cannot be read.
        """
        with upload.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        try:
            check_head(head, upload.name, upload.metadata.get("format"))
        except SourceError as problem:
            self.remove(upload.id)
            hint = "" if "format" in upload.metadata else ", as format in Upload-Metadata"
            raise Problem(415, f"{problem}{hint}", [("file", "no input that is read")]) from problem

    def remove(self, id_: str) -> None:
        """Forget an upload."""
        self._uploads.pop(id_, None)
        self._remove_files(id_)

    def expires_s(self, upload: Upload) -> float:
        """When it is forgotten where nobody goes on with it, s since 1970."""
        return time.time() + self._settings.keep_uploads_s - self._age_s(upload)

    def _age_s(self, upload: Upload) -> float:
        return self._ages.age_s(upload.id, upload.path.stat().st_mtime)

    def forget_old(self) -> None:
        """Remove what nobody went on with."""
        for upload in list(self._uploads.values()):
            try:
                if not upload.lock.locked() and self._age_s(upload) > self._settings.keep_uploads_s:
                    self.remove(upload.id)
            except FileNotFoundError:  # somebody removed its bytes
                _log.warning("an upload is gone from the data folder", id=upload.id)
                self.remove(upload.id)
        self._ages.keep(self._uploads)

    def _remove_files(self, id_: str) -> None:
        for suffix in (".json", ".bin"):
            (self._folder / f"{id_}{suffix}").unlink(missing_ok=True)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work in a thread, also where this task is cancelled: its file must not be closed under it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _write(file: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def display_name(name: str) -> str:
    """A client's name of a file, for people alone: no path, nothing that does not print."""
    plain = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable())
    return plain[-200:] or "upload"


def safe_suffix(name: str) -> str:
    """The end of a client's name of a file, where it can do no harm."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else ""
