"""What opens doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Secrets(Protocol):
    """What opens doors: secrets by name, and the document of all tokens. Read and written whole, or not at all."""

    @property
    def where(self) -> str:
        """Where the tokens are kept, for messages."""
        ...

    def read_or_make(self, name: str, least: int, make: Callable[[], bytes]) -> bytes:
        """The secret of this name; what ``make`` gives where there is none, the same for all who ask at once.

        Args:
            name: such as ``snapshot.key``.
            least: a secret has so many bytes at least.
            make: gives a new one.

        Raises:
            BadSecret: what is there is none: too short, one byte over and over, or not to be read.
            OSError: none could be stored; the next one who asks tries again.
        """
        ...

    def tokens_version(self) -> object | None:
        """Something that differs whenever the document of tokens does; None where there is none.

        Raises:
            OSError: there is one, or was meant to be, and it cannot be reached.
        """
        ...

    def tokens(self) -> bytes:
        """The document of tokens.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def tokens_were_made(self) -> bool:
        """Whether there ever was a document of tokens, also where it has been lost since."""
        ...

    def change_tokens(self, edit: Callable[[bytes | None], bytes]) -> None:
        """Put what ``edit`` makes of the document (None: there is none) in its place, durable when this returns.

        Nobody else changes it meanwhile. What ``edit`` raises is passed on, and nothing is changed.
        """
        ...
