"""Models and pipelines that users keep."""

from __future__ import annotations

from typing import Protocol, TypeVar

Content = TypeVar("Content")


class Catalogue(Protocol[Content]):
    """Things by name: immutable versions of each, of which one is what the name stands for.

    What comes with Polychrony is not in it, and its names are refused. Every method that takes a name raises a
    UserError, in words for users, where there is nothing of that name or no such version. Methods may wait for a
    disk.
    """

    def names(self) -> list[str]:
        """What there is, in order of the names."""
        ...

    def versions(self, name: str) -> list[str]:
        """All versions, the oldest first."""
        ...

    def active(self, name: str) -> str:
        """The version that the name stands for."""
        ...

    def read(self, name: str, version: str | None = None) -> Content:
        """A version, the active one where None: always what was put."""
        ...

    def put(self, name: str, content: Content) -> str:
        """Keep a version, which becomes the active one; which one. The same content once more is no new version.

        Raises:
            UserError: the name or the content cannot be kept.
        """
        ...

    def activate(self, name: str, version: str) -> None:
        """Let the name stand for another version."""
        ...

    def remove(self, name: str) -> None:
        """Forget all versions. Whoever has read one keeps what was read."""
        ...
