"""Idempotency keys: the same key names the same stream for as long as that is kept."""

from __future__ import annotations

from service.storage.ports import Directory


class Keys:
    """Which stream each idempotency key made, and from what.

    Args:
        directory: where they are stored.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[str, tuple[str, str | None]] = {}
        """By key: the stream, and the SHA-256 of what was asked for."""

    def add(self, key: str, id_: str, asked: str | None) -> None:
        """A key that is stored with its stream."""
        self._known[key] = id_, asked

    def restore(self, id_: str) -> None:
        """The key of a stream that a restart brought back, where it has one."""
        if (held := self._directory.key_of(id_)) is not None:
            self.add(held[0], id_, held[1])

    def stream_of(self, key: str) -> str:
        """Name of the stream; "" where the key made none."""
        return self._known.get(key, ("", None))[0]

    def asked(self, key: str) -> str | None:
        """The SHA-256 of what was asked for with it; None where nobody wrote it down."""
        return self._known.get(key, ("", None))[1]

    def all(self) -> dict[str, str]:
        """Every key, and the stream that it made."""
        return {key: id_ for key, (id_, _) in self._known.items()}

    def forget(self, key: str) -> None:
        """Let another stream have the key."""
        if (known := self._known.pop(key, None)) is not None:
            self._directory.forget_key(known[0])

    def drop_stream(self, id_: str) -> None:
        """A stream is no more, and so are its keys."""
        self._known = {key: one for key, one in self._known.items() if one[0] != id_}
