"""What a WebSocket is fed, kept as it came: no frame is copied before it is unmasked, and few are parsed at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator

from websockets.streams import StreamReader

_SMALL = 4096
"""Bytes; what comes in smaller pieces is joined, as a piece takes more memory than these bytes."""


class Pieces(StreamReader):
    """websockets' reader, which copies all bytes twice and parses all that came at once.

    The handshake is read as ever. From the first frame on the parser stops behind :attr:`turn` frames, as if no more
    had come, until it is fed again, be it with nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: deque[memoryview] | None = None
        self._size = 0
        self.turn: float = math.inf
        """So many frames may be parsed still."""

    @property
    def held(self) -> bool:
        """Whether there is more, which the parser left for its next turn."""
        return self.turn <= 0 and self._size + len(self.buffer) > 0

    def feed_data(self, data: bytes | bytearray) -> None:
        """Take in what came; EOFError where nothing may come any more."""
        if self._pieces is None or self.eof or len(data) < _SMALL:
            super().feed_data(data)
            return
        self._end_small(self._pieces)
        self._pieces.append(memoryview(data))
        self._size += len(data)

    def read_exact(self, n: int) -> Generator[None, None, memoryview]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """So many bytes, once they are there; EOFError where they will not come."""
        if self._pieces is None:
            self._pieces = deque()
        while self._size + len(self.buffer) < n:
            if self.eof:
                raise EOFError(f"stream ends after {self._size + len(self.buffer)} bytes, expected {n} bytes")
            yield
        return self._take(self._pieces, n)

    def at_eof(self) -> Generator[None, None, bool]:
        """Whether all was read and nothing will come; asked for before each frame."""
        while self.turn <= 0 or not self._size + len(self.buffer):
            if self.eof and not self._size + len(self.buffer):
                return True
            yield
        self.turn -= 1
        return False

    def discard(self) -> None:
        """Forget what was not read."""
        super().discard()
        if self._pieces is not None:
            self._pieces.clear()
            self._size = 0

    def let_go(self) -> None:
        """Keep no large piece for the few bytes of it that are left."""
        if self._pieces and len(self._pieces) == 1:
            (left,) = self._pieces
            if len(left) < len(left.obj) // 2:  # pyright: ignore[reportArgumentType]
                self._pieces[0] = memoryview(bytes(left))

    def _take(self, pieces: deque[memoryview], n: int) -> memoryview:
        if self._size < n:
            self._end_small(pieces)
        self._size -= n
        taken = list[memoryview]()
        while n:
            piece = pieces.popleft()
            if len(piece) > n:
                pieces.appendleft(piece[n:])
                piece = piece[:n]
            taken.append(piece)
            n -= len(piece)
        return taken[0] if len(taken) == 1 else memoryview(b"".join(taken))

    def _end_small(self, pieces: deque[memoryview]) -> None:
        """Have what came in small pieces be one."""
        if self.buffer:
            pieces.append(memoryview(self.buffer))
            self._size += len(self.buffer)
            self.buffer = bytearray()
