"""The bytes of uploads."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from service.storage.records import StoredUpload


class UploadStore(Protocol):
    """The bytes of uploads, which come in order and may break off between any two."""

    async def open(self) -> None:
        """Find what an earlier run left. What is damaged is set aside, what was only begun goes."""
        ...

    async def all(self) -> list[StoredUpload]:
        """Every upload that is here."""
        ...

    async def find(self, id_: str) -> StoredUpload | None:
        """The upload of this name, as it is now; None where there is none, or its bytes are lost."""
        ...

    async def create(self, id_: str, length: int, metadata: dict[str, str]) -> None:
        """Begin an upload without bytes, durably.

        Args:
            id_: 32 hexadecimal digits that no other upload has.
            length: bytes when it is complete.
            metadata: what the client said of it.
        """
        ...

    async def writer(self, id_: str) -> UploadWriter:
        """Whoever adds bytes to an upload. OSError: its bytes are lost."""
        ...

    async def file(self, id_: str) -> Path:
        """The bytes that have come, as a file of this machine: to be read or linked, never written."""
        ...

    def free_bytes(self) -> int:
        """Room that is left for all uploads together."""
        ...

    async def remove(self, id_: str) -> None:
        """Forget an upload, where there is one. Links to its file stay."""
        ...


class UploadWriter(Protocol):
    """Adds bytes to one upload. One that ends without :meth:`close`, as by a kill, leaves what it wrote, or less."""

    async def write(self, chunk: bytes, offset: int) -> None:
        """Add bytes at ``offset``.

        Raises:
            StaleOffset: the upload does not end there: nothing is added.
            OSError: some of them may have been; the upload says how many.
        """
        ...

    async def close(self) -> None:
        """What was written is durable."""
        ...
