"""Streams: their frames, rows, recordings and snapshots, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pipeline.wire import Frame
from service.storage.records import Snapshot


class StreamLog(Protocol):
    """The accepted frames of one stream, in order. Used by one thread at a time."""

    @property
    def cut_bytes(self) -> int:
        """What :meth:`replay` dropped from an end that was damaged while it was written."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why nothing becomes durable at present; None while appends go through."""
        ...

    def append(self, frames: list[bytes], last: int, durable: Callable[[int], None]) -> None:
        """Store frames behind those that are there.

        Args:
            frames: whole frames, in order.
            last: number of the last of them.
            durable: called with ``last`` once all frames up to it are durable, from any thread; where that is at
                once, before this returns. Calls come in order.

        Raises:
            OSError: none of the frames is stored. With ENOSPC or EDQUOT the caller may try again.
        """
        ...

    def replay(self) -> Iterator[tuple[Frame, int]]:
        """The frames behind the snapshot that the log was opened for, each with its size in bytes.

        Raises:
            OSError: frames are missing or damaged, and whole ones follow. Nothing is removed.
        """
        ...

    def checkpoint(self, number: int) -> None:
        """Prepare for a snapshot after frame ``number``, the last that was appended: what follows is kept apart."""
        ...

    def forget(self, number: int) -> None:
        """Frames up to ``number`` will not be asked for again; they may be removed."""
        ...

    def close(self) -> None:
        """Release files and connections. What is stored stays."""
        ...


class RowFile(Protocol):
    """A ring of fixed-size records for the rows of one output. One writer; any number of readers."""

    @property
    def known(self) -> bool:
        """Whether the records that a snapshot counted on can be there."""
        ...

    def write(self, slot: int, data: memoryview) -> None:
        """Write whole records from ``slot`` on; they do not reach beyond the end of the ring."""
        ...

    def read(self, slot: int, n: int) -> bytes:
        """``n`` records from ``slot`` on.

        Raises:
            OSError: the file was closed.
        """
        ...

    def first_intact(self, next_row: int) -> tuple[int, bool]:
        """(the oldest row from which on all before ``next_row`` are intact, whether the one before is damaged)."""
        ...

    def slack(self) -> int:
        """Rows that may go beyond the oldest, as checksums cover several at a time."""
        ...

    def snapshot(self) -> list[list[int]]:
        """What must be known to check the records after a restart."""
        ...

    def sync(self) -> None:
        """Wait until the records are durable."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class Recording(Protocol):
    """Frames of a stream, those that came while it was recorded, as one file of frames."""

    path: Path
    left_out: int
    """Frames that were left out, as the file has reached its largest size."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    def append(self, frames: list[bytes]) -> None:
        """Add whole frames, or none of them (OSError)."""
        ...

    def cut_back(self, size: int, left_out: int = 0) -> None:
        """Drop what lies behind ``size`` bytes: those frames come once more. So many were left out by then."""
        ...

    def sync(self) -> None:
        """Wait until all of it is durable."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class ShedLog(Protocol):
    """Which frames a realtime stream shed, and its evaluation stride: what a replay needs to repeat its answers."""

    path: Path
    full: bool
    """Whether it has reached its largest size; counts go on in ``stats``."""

    def shed(self, number: int, events: int) -> None:
        """Frame ``number`` with its ``events`` was shed."""
        ...

    def stride(self, number: int, stride: int) -> None:
        """From frame ``number`` on detectors evaluate at a ``stride``-th of the places."""
        ...

    def flush(self) -> None:
        """Write what is known. OSError: it is still to be written."""
        ...


class StreamStore(Protocol):
    """Everything that is stored of one stream."""

    @property
    def epoch(self) -> int:
        """How often the stream was opened, this time included: a later owner has a larger one."""
        ...

    def log(self, after: int) -> StreamLog:
        """The frames behind frame ``after``."""
        ...

    def rows(
        self, index: int, row_bytes: int, capacity: int, sums: list[list[int]] | None, fresh: bool
    ) -> RowFile:
        """The ring of output ``index``.

        Args:
            index: of the output.
            row_bytes: size of a record.
            capacity: records in the ring.
            sums: what :meth:`RowFile.snapshot` said; None where nothing is known of its content.
            fresh: whether it begins empty.
        """
        ...

    def recording(self, about: dict[str, Any]) -> Recording:
        """The recording, begun with ``about`` where there is none."""
        ...

    def has_recording(self) -> bool:
        """Whether there is one."""
        ...

    def shed_log(self) -> ShedLog:
        """The shed log."""
        ...

    def reveal(self, document: dict[str, Any]) -> None:
        """Store what the stream was made from: it is complete, and from here on a start finds it.

        Once more: in place of what was stored, which a kill leaves whole.
        """
        ...

    def sync_names(self) -> None:
        """Make sure that what was opened so far is found again, whatever happens from here on."""
        ...

    def checkpoint(self, snapshot: Snapshot, rows: list[RowFile], recording: Recording | None) -> int:
        """Store a snapshot, with all that it counts on durable before it is.

        Returns:
            Number of the snapshot before it, which is kept as well; 0 where there is none.
        """
        ...

    def newest(self) -> Snapshot | None:
        """The snapshot to go on from; None where the log holds everything.

        Raises:
            CheckpointError: every snapshot is damaged, and the log begins behind one.
        """
        ...

    def packed(self, snapshot: Snapshot) -> bytes:
        """A snapshot as one signed file, for whoever asked for it."""
        ...

    def hide(self) -> None:
        """Make sure that no start finds the stream again, at once."""
        ...

    def delete(self) -> None:
        """Remove everything."""
        ...


class Directory(Protocol):
    """Which streams exist, and which idempotency key made each."""

    def open(self) -> None:
        """Prepare the storage, and remove what a deletion left half done."""
        ...

    def names(self) -> list[str]:
        """All streams that are stored, in order."""
        ...

    def create(self, id_: str) -> StreamStore:
        """Room for a new stream. No start finds it before :meth:`StreamStore.reveal`."""
        ...

    def document(self, id_: str) -> dict[str, Any]:
        """What a stream was made from.

        Raises:
            OSError, ValueError, TypeError: what is stored cannot be read.
        """
        ...

    def open_stream(self, id_: str) -> StreamStore:
        """A stream's storage, which counts its epoch up; a disk that is full does not keep it from being opened."""
        ...

    def remove(self, id_: str) -> None:
        """Remove a stream that is not open."""
        ...

    def set_key(self, id_: str, key: str, asked: str | None) -> None:
        """The idempotency key that made a stream, with the SHA-256 of what was asked for."""
        ...

    def key_of(self, id_: str) -> tuple[str, str | None] | None:
        """(key, SHA-256) of a stream; None where it was made without one, or it cannot be read."""
        ...

    def forget_key(self, id_: str) -> None:
        """Another stream may have the key."""
        ...

    def unpacked(self, source: Path | bytes) -> Snapshot:
        """A snapshot that :meth:`StreamStore.packed` wrote here.

        Raises:
            CheckpointError: it is none, or signed by another service.
        """
        ...
