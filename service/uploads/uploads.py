"""What uploads are allowed: how large, how many, by one request at a time, for how long."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.sources import HEAD_BYTES, SourceError, check_head
from service.host.ages import Ages
from service.http.problems import Problem
from service.settings import Settings
from service.storage.ports import UploadStore
from service.storage.records import StaleOffset, StoredUpload

_MOST = 1000
_LOOK_EVERY = 16 * 2**20


class Uploads:
    """The uploads of the service; belongs to the event loop's thread.

    Args:
        settings: with the limits.
        store: where their bytes are.
    """

    def __init__(self, settings: Settings, store: UploadStore) -> None:
        self._settings, self._store = settings, store
        self._adding: set[str] = set()
        """Uploads that a request is adding to."""
        self._making = asyncio.Lock()
        self._ages = Ages()
        self._passing: dict[int, int] = {}
        """Bytes that are still to come of each body that is taken in by one request."""

    async def open(self) -> None:
        """Find what an earlier run left."""
        await self._store.open()

    async def create(self, length: int, metadata: dict[str, str]) -> StoredUpload:
        """Make room for an upload.

        Raises:
            Problem: it is too large, or there is no room.
        """
        settings = self._settings
        if length > settings.max_upload_bytes:
            raise Problem(413, f"Upload-Length: at most {settings.max_upload_bytes} bytes")
        # One after the other: two that look at once would both find the last room.
        async with self._making:
            waiting = await self._store.all()
            if len(waiting) >= _MOST:
                raise Problem(
                    507, f"{_MOST} uploads wait already: delete one, or wait until one is used or expires"
                )
            if sum(one.length for one in waiting) + length > settings.max_uploads_bytes:
                raise Problem(
                    507, "as many uploads wait as may: delete one, or wait until one is used or expires"
                )
            await self._demand_room(length)
            id_ = secrets.token_hex(16)
            await self._store.create(id_, length, metadata)
        return StoredUpload(id_, length, metadata, 0, time.time())

    @asynccontextmanager
    async def passing(self, content_length: str) -> AsyncGenerator[Callable[[int], Awaitable[None]]]:
        """Room on the disk for a body that one request brings; the function is told how much of it has come.

        Raises:
            Problem: there is none, or it is gone meanwhile.
        """
        length = int(content_length) if re.fullmatch(r"[0-9]{1,18}", content_length) else 0
        await self._demand_room(length)
        number = max(self._passing, default=0) + 1
        self._passing[number] = length
        looked_at = 0

        async def came(seen: int) -> None:
            nonlocal looked_at
            self._passing[number] = max(0, length - seen)
            if seen - looked_at >= _LOOK_EVERY:
                looked_at = seen
                await self._demand_room(0)

        try:
            yield came
        finally:
            del self._passing[number]

    async def _demand_room(self, length: int) -> None:
        to_come = sum(one.length - one.offset for one in await self._store.all())
        ahead = to_come + sum(self._passing.values())
        if self._store.free_bytes() - ahead - length < self._settings.min_free_bytes:
            raise Problem(507, "the disk has no room for it", headers={"Connection": "close"})

    async def find(self, id_: str) -> StoredUpload | None:
        """The upload of this name, as it is now."""
        return await self._store.find(id_)

    async def file(self, id_: str) -> Path:
        """The bytes of an upload, to be read or linked."""
        return await self._store.file(id_)

    def demand_idle(self, id_: str) -> None:
        """Refuse while a request adds to an upload.

        Raises:
            Problem: one does.
        """
        if id_ in self._adding:
            raise Problem(423, "another request adds to this upload")

    async def append(self, id_: str, offset: int, chunks: AsyncIterator[bytes]) -> None:
        """Add what comes behind ``offset``. What came before a failure is kept.

        Raises:
            Problem: there is no such upload, another request is adding, the offset is wrong, more comes than was
                said, or its first bytes are of nothing that is read.
        """
        self.demand_idle(id_)
        self._adding.add(id_)
        try:
            upload = await self._store.find(id_)
            if upload is None:
                raise Problem(404, "no such upload")
            if offset != upload.offset:
                raise Problem(409, f"Upload-Offset: the upload is at {upload.offset}")
            await self._add(upload, offset, chunks)
        except StaleOffset as problem:
            raise Problem(409, f"Upload-Offset: the upload is at {problem.offset}") from problem
        finally:
            self._adding.discard(id_)

    async def _add(self, upload: StoredUpload, offset: int, chunks: AsyncIterator[bytes]) -> None:
        enough = min(HEAD_BYTES, upload.length)
        writer = await self._store.writer(upload.id)
        try:
            async for chunk in chunks:
                if offset + len(chunk) > upload.length:
                    raise Problem(413, f"more bytes than Upload-Length says: {upload.length}")
                await writer.write(chunk, offset)
                before, offset = offset, offset + len(chunk)
                self._ages.begin(upload.id)
                if before < enough <= offset:
                    await self._demand_readable(upload)
        finally:
            await writer.close()

    async def _demand_readable(self, upload: StoredUpload) -> None:
        """Look at its first bytes; what cannot be read is forgotten.

        Raises:
            Problem: it cannot be read.
        """
        with (await self._store.file(upload.id)).open("rb") as file:
            head = file.read(HEAD_BYTES)
        try:
            check_head(head, name_of(upload), upload.metadata.get("format"))
        except SourceError as problem:
            await self._store.remove(upload.id)
            hint = "" if "format" in upload.metadata else ", as format in Upload-Metadata"
            raise Problem(415, f"{problem}{hint}", [("file", "no input that is read")]) from problem

    async def remove(self, id_: str) -> None:
        """Forget an upload."""
        await self._store.remove(id_)

    def expires_s(self, upload: StoredUpload) -> float:
        """When it is forgotten where nobody goes on with it, s since 1970."""
        return time.time() + self._settings.keep_uploads_s - self._ages.age_s(upload.id, upload.changed_s)

    async def forget_old(self) -> None:
        """Remove what nobody went on with."""
        kept: list[str] = []
        for upload in await self._store.all():
            old = self._ages.age_s(upload.id, upload.changed_s) > self._settings.keep_uploads_s
            if old and upload.id not in self._adding:
                await self._store.remove(upload.id)
            else:
                kept.append(upload.id)
        self._ages.keep(kept)


def name_of(upload: StoredUpload) -> str:
    """What its client calls the file."""
    return display_name(upload.metadata.get("filename", ""))


def display_name(name: str) -> str:
    """A client's name of a file, for people alone: no path, nothing that does not print."""
    plain = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable())
    return plain[-200:] or "upload"


def safe_suffix(name: str) -> str:
    """The end of a client's name of a file, where it can do no harm."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else ""
