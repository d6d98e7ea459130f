"""The folder of one stream, and the folder of all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from pipeline.checkpoint import CheckpointError
from pipeline.reading import read_file
from pipeline.writing import replace_file, sync_folder
from service.storage.files import snapshots
from service.storage.files.frame_log import FrameLog
from service.storage.files.recording import Recorder
from service.storage.files.row_file import RingFile
from service.storage.files.shed_log import ShedFile
from service.storage.files.snapshots import Snapshots
from service.storage.ports import Recording, RowFile, Secrets
from service.storage.records import Snapshot

_log = structlog.get_logger("streams")
_HIDDEN = ".gone-"
"""Before the name of a folder that is being removed."""
_NAME = re.compile(r"[0-9a-f]{16}")
_REQUEST, _KEY, _EPOCH, _RECORDING = "request.json", "key", "epoch", "recording.pchy"


class StreamFiles:
    """Everything that is stored of one stream; see :class:`service.storage.ports.StreamStore`.

    Args:
        folder: of the stream; there already.
        signing_key: of snapshots.
        fsync: whether to wait for the disk.
        most_recorded: bytes of a recording, at most.
    """

    def __init__(self, folder: Path, signing_key: bytes, fsync: bool, most_recorded: int) -> None:
        self._folder, self._fsync, self._most_recorded = folder, fsync, most_recorded
        self._signing_key = signing_key
        self._snapshots = Snapshots(folder, signing_key, fsync)
        self.epoch = self._count_epoch()

    def log(self, after: int) -> FrameLog:
        """The frames behind frame ``after``."""
        return FrameLog(self._folder, self._fsync, after)

    def rows(
        self, index: int, row_bytes: int, capacity: int, sums: list[list[int]] | None, fresh: bool
    ) -> RingFile:
        """The ring of output ``index``."""
        return RingFile(self._folder / f"rows-{index}", row_bytes, capacity, sums, fresh)

    def recording(self, about: dict[str, Any]) -> Recorder:
        """The recording, begun with ``about`` where there is none."""
        return Recorder(self._folder / _RECORDING, about, self._most_recorded)

    def has_recording(self) -> bool:
        """Whether there is one."""
        path = self._folder / _RECORDING
        return path.exists() and path.stat().st_size > 0  # one that a full disk kept from being begun is none

    def shed_log(self) -> ShedFile:
        """The shed log."""
        return ShedFile(self._folder / "admission.jsonl")

    def reveal(self, document: dict[str, Any]) -> None:
        """Write what the stream was made from: from here on a start finds it."""
        replace_file(self._folder / _REQUEST, json.dumps(document).encode(), self._fsync)
        self.sync_names()

    def sync_names(self) -> None:
        """Have the disk know the names of all files; content that the disk has is of no use without."""
        if self._fsync:
            sync_folder(self._folder)
            sync_folder(self._folder.parent)

    def checkpoint(self, snapshot: Snapshot, rows: list[RowFile], recording: Recording | None) -> int:
        """Store a snapshot, with all that it counts on on the disk before it is."""
        if self._fsync:
            # First: the log behind a snapshot is forgotten, so nothing could bring these back.
            for file in rows:
                file.sync()
            if recording is not None:
                recording.sync()
        return self._snapshots.write(snapshot)

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole; None where the log holds everything."""
        try:
            return self._snapshots.newest()
        except CheckpointError as problem:
            if not FrameLog.is_whole(self._folder):
                raise
            _log.error("no snapshot of a stream is whole: it is rebuilt from its log, which is",
                       id=self._folder.name, problem=str(problem))  # fmt: skip
            return None

    def packed(self, snapshot: Snapshot) -> bytes:
        """A snapshot as one signed file."""
        path = self._folder / f".asked-{time.monotonic_ns()}.zip"
        try:
            self._snapshots.write_to(path, snapshot)
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)

    def hide(self) -> None:
        """Rename the folder, so that no start finds it."""
        # Without the folder there is nothing to hide; a disk that refuses the name leaves it to the deletion.
        with suppress(OSError):
            self._folder.rename(self._hidden)

    def delete(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._hidden, ignore_errors=True)

    @property
    def _hidden(self) -> Path:
        return self._folder.with_name(f"{_HIDDEN}{self._folder.name}")

    def _count_epoch(self) -> int:
        path = self._folder / _EPOCH
        try:
            before = int(read_file(path)) if path.exists() else 0
        except (OSError, ValueError):
            # Damaged: the clock is larger than any count of starts, so it still only grows.
            before = int(time.time())
        try:
            # In place and always as long: a disk that is full takes it, and must not keep a stream from coming back.
            with path.open("r+b" if path.exists() else "wb") as file:
                file.write(b"%020d" % (before + 1))
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as problem:
            _log.warning(
                "a stream's epoch cannot be written down", id=self._folder.name, problem=problem.strerror
            )
        return before + 1


def _was_never_revealed(folder: Path) -> bool:
    """Whether a kill came while a stream was being made: nobody was told of it, and it holds no frame."""
    if not _NAME.fullmatch(folder.name) or not folder.is_dir() or (folder / _REQUEST).exists():
        return False
    return not any(path.stat().st_size for path in folder.glob("frames-*.log"))


class StreamFolders:
    """Which streams exist, as a folder each; see :class:`service.storage.ports.Directory`.

    Args:
        folder: of all streams.
        signing_key: where the key of snapshots is, or will be: the data folder.
        fsync: whether to wait for the disk.
        most_recorded: bytes of a recording, at most.
    """

    def __init__(self, folder: Path, secrets: Secrets, fsync: bool, most_recorded: int) -> None:
        self._folder, self._secrets = folder, secrets
        self._fsync, self._most_recorded = fsync, most_recorded
        self._signing_key = b""

    def open(self) -> None:
        """Make the folder, and remove what a deletion left half done."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._fsync:
            sync_folder(self._folder.parent)
        self._signing_key = snapshots.key_of(self._secrets)
        for path in self._folder.iterdir():
            if path.name.startswith(_HIDDEN) or _was_never_revealed(path):
                shutil.rmtree(path, ignore_errors=True)

    def names(self) -> list[str]:
        """All streams, in order."""
        return sorted(path.name for path in self._folder.iterdir() if not path.name.startswith(_HIDDEN))

    def create(self, id_: str) -> StreamFiles:
        """Make a stream's folder."""
        folder = self._folder / id_
        folder.mkdir(parents=True)
        return self._files(folder)

    def document(self, id_: str) -> dict[str, Any]:
        """What a stream was made from."""
        document = json.loads(read_file(self._folder / id_ / _REQUEST))
        if not isinstance(document, dict):
            raise TypeError(f"{_REQUEST}: no JSON object")
        return document

    def open_stream(self, id_: str) -> StreamFiles:
        """The folder of a stream."""
        folder = self._folder / id_
        for part in (*folder.glob(".*.part"), *folder.glob(".asked-*")):
            part.unlink(missing_ok=True)
        return self._files(folder)

    def remove(self, id_: str) -> None:
        """Remove a stream's folder, unopened."""
        folder = self._folder / id_
        # One rename, then file by file: a kill in between leaves a name that the next start removes.
        with suppress(OSError):
            folder = folder.rename(folder.with_name(f"{_HIDDEN}{id_}"))
        shutil.rmtree(folder, ignore_errors=True)

    def set_key(self, id_: str, key: str, asked: str | None) -> None:
        """Keep the idempotency key that made a stream."""
        known = json.dumps({"key": key, "asked": asked}).encode()
        replace_file(self._folder / id_ / _KEY, known, self._fsync)

    def key_of(self, id_: str) -> tuple[str, str | None] | None:
        """(key, SHA-256) of a stream."""
        path = self._folder / id_ / _KEY
        if not path.exists():
            return None
        text = ""
        try:
            text = read_file(path).decode()
            held = json.loads(text)
            return str(held["key"]), held["asked"]
        except (OSError, UnicodeDecodeError) as problem:
            _log.error("the idempotency key of a stream cannot be read", id=id_, problem=str(problem))
            return None
        except (ValueError, KeyError, TypeError):  # as it was written before sums were kept
            return text, None

    def forget_key(self, id_: str) -> None:
        """Remove the key."""
        (self._folder / id_ / _KEY).unlink(missing_ok=True)

    def unpacked(self, source: Path | bytes) -> Snapshot:
        """A snapshot that this service wrote."""
        return snapshots.read(source, self._signing_key)

    def _files(self, folder: Path) -> StreamFiles:
        return StreamFiles(folder, self._signing_key, self._fsync, self._most_recorded)
