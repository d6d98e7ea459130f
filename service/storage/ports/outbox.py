"""Messages until they are delivered."""

from __future__ import annotations

from typing import Protocol

from service.storage.records import Held, Message, Waiting


class OutboxStore(Protocol):
    """Messages until they are delivered, and how far outputs were read for each receiver; they change together."""

    async def open(self, receivers: set[str]) -> None:
        """Begin. What waits for receivers that are no more is forgotten."""
        ...

    async def cursors(self, receiver: str) -> dict[tuple[str, str], int]:
        """Up to which row each (stream, output) was read."""
        ...

    async def add(
        self, receiver: str, messages: list[Message], cursors: dict[tuple[str, str], int], keep_bytes: int
    ) -> int:
        """Take messages in together with how far their outputs were read; how many older ones had to go for them."""
        ...

    async def drop_old(self, receiver: str, keep_s: float) -> int:
        """Drop messages that have waited too long; how many, of which there may be more."""
        ...

    async def forget_streams(self, receiver: str, gone: list[str]) -> None:
        """Streams that are no more."""
        ...

    async def oldest(self, receiver: str, most: int) -> list[Waiting]:
        """The messages that have waited longest, in the order in which they came."""
        ...

    async def remove(self, numbers: list[int]) -> int:
        """They were delivered; how many of them were still there."""
        ...

    def waiting(self, receiver: str) -> Held:
        """How much waits for a receiver."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
