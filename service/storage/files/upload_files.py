"""Uploads in a folder: the bytes in one file, what is known of them beside it.

How far an upload has come is the length of its file and nothing else, so that a kill at any moment leaves nothing to
disagree with it. (Considered: tuspyserver. It keeps the offset in a file beside the bytes, writes that when a request
ends, and appends: after a kill in between, bytes come twice.)
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog

from pipeline.reading import check_regular, read_file
from pipeline.writing import replace_file, sync_folder
from service.storage.records import StaleOffset, StoredUpload

_log = structlog.get_logger("uploads")
_ASIDE = ".damaged"
_MOST_CARD = 2**16
_ID = re.compile(r"[0-9a-f]{32}")


class UploadFiles:
    """The uploads of one data folder; belongs to the event loop's thread.

    Args:
        folder: for nothing else.
        fsync: whether what is durable outlives the machine's death, too.
    """

    def __init__(self, folder: Path, fsync: bool) -> None:
        self._folder, self._fsync = folder, fsync
        self._known: dict[str, tuple[int, dict[str, str]]] = {}
        """Length and metadata of each: they never change."""

    async def open(self) -> None:
        """Find what an earlier run left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._fsync:
            sync_folder(self._folder.parent)
        for card in self._folder.glob("*.json"):
            try:
                if not _ID.fullmatch(card.stem) or not self._path(card.stem).is_file():
                    raise ValueError("without its bytes")
                self._known[card.stem] = _parsed_card(read_file(card, _MOST_CARD))
            except (OSError, ValueError, RecursionError) as problem:
                _log.error("an upload cannot be gone on with", id=card.stem, problem=str(problem))
        for path in self._folder.iterdir():
            if path.stem not in self._known and not path.name.endswith(_ASIDE):
                self._leave_or_remove(path)

    def _leave_or_remove(self, path: Path) -> None:
        """What is left of an upload that is none: what was only begun goes, bytes that were taken in are kept."""
        if not path.is_file():
            _log.warning("something that is no upload lies in the folder of uploads", name=path.name)
        elif path.name.endswith(".part") or (path.suffix == ".bin" and path.stat().st_size == 0):
            path.unlink(missing_ok=True)
        else:
            path.rename(path.with_name(path.name + _ASIDE))
            _log.error("a damaged upload is set aside", name=path.name + _ASIDE)

    async def all(self) -> list[StoredUpload]:
        """Every upload that is here."""
        found = [await self.find(id_) for id_ in list(self._known)]
        return [one for one in found if one is not None]

    async def find(self, id_: str) -> StoredUpload | None:
        """The upload of this name; None, and forgotten, where somebody removed its bytes."""
        if id_ not in self._known:
            return None
        try:
            stat = self._path(id_).stat()
        except FileNotFoundError:
            _log.warning("an upload is gone from the data folder", id=id_)
            await self.remove(id_)
            return None
        length, metadata = self._known[id_]
        return StoredUpload(id_, length, metadata, stat.st_size, stat.st_mtime)

    async def create(self, id_: str, length: int, metadata: dict[str, str]) -> None:
        """Begin an upload without bytes."""
        path = self._path(id_)
        path.touch(mode=0o600)
        card = json.dumps({"length": length, "metadata": metadata}).encode()
        replace_file(path.with_suffix(".json"), card, self._fsync)
        self._known[id_] = length, metadata

    async def writer(self, id_: str) -> UploadFileWriter:
        """Whoever adds bytes to an upload."""
        path = self._path(id_)
        file = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # a FIFO would be waited for
        try:
            check_regular(file, path)
        except OSError:
            os.close(file)
            raise
        return UploadFileWriter(file, self._fsync)

    async def file(self, id_: str) -> Path:
        """The bytes that have come."""
        return self._path(id_)

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self._folder).free

    async def remove(self, id_: str) -> None:
        """Forget an upload."""
        # The bytes first: where they cannot go, the upload is still known. A card without bytes is only told of.
        self._path(id_).unlink(missing_ok=True)
        self._path(id_).with_suffix(".json").unlink(missing_ok=True)
        self._known.pop(id_, None)

    def _path(self, id_: str) -> Path:
        return self._folder / f"{id_}.bin"


class UploadFileWriter:
    """Adds bytes to the file of an upload."""

    def __init__(self, file: int, fsync: bool) -> None:
        self._file, self._fsync = file, fsync

    async def write(self, chunk: bytes, offset: int) -> None:
        """Add bytes at the end, which is at ``offset``."""
        await _whole(asyncio.to_thread(self._write, chunk, offset))

    def _write(self, chunk: bytes, offset: int) -> None:
        if (end := os.fstat(self._file).st_size) != offset:
            raise StaleOffset(end)
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written

    async def close(self) -> None:
        """Release the file; what was written is durable."""
        try:
            if self._fsync:  # what is told to have come is the length of the file, and not zeros
                await _whole(asyncio.to_thread(os.fdatasync, self._file))
        finally:
            os.close(self._file)


def _parsed_card(card: bytes) -> tuple[int, dict[str, str]]:
    """(length, metadata) of a card.

    Raises:
        ValueError: it is none.
    """
    document = json.loads(card)
    if isinstance(document, dict):
        length, metadata = document.get("length"), document.get("metadata")
        if type(length) is int and length >= 0 and isinstance(metadata, dict):
            said = {str(key): value for key, value in metadata.items() if isinstance(value, str)}
            if len(said) == len(metadata):
                return length, said
    raise ValueError("its card says neither length nor metadata")


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work in a thread, also where this task is cancelled: its file must not be closed under it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
