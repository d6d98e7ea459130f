"""Multipart bodies to disk while they arrive: bounded, never whole in memory, never written twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.http.problems import Problem
from service.uploads.uploads import display_name, safe_suffix

_FIELD_BYTES, _FIELDS, _HEADER_BYTES = 64 * 1024, 32, 4096


@dataclass
class Upload:
    """A body that has been taken in.

    Attributes:
        name: the file's name, as the client gave it; only its suffix was used.
        path: where its bytes are.
        size: how many.
        fields: the other fields.
        sum: SHA-256 of its bytes, where it is wanted.
    """

    name: str = ""
    path: Path | None = None
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict[str, str])
    sum: Any = field(default_factory=hashlib.sha256)


async def receive(
    chunks: AsyncIterator[bytes], content_type: str, folder: Path, max_bytes: int,
    came: Callable[[int], Awaitable[None]], summed: bool = False,
) -> Upload:  # fmt: skip
    """Take in a multipart body whose file becomes ``folder/upload<suffix>``.

    Args:
        chunks: the body.
        content_type: its header.
        folder: where to.
        max_bytes: of the whole body.
        came: told how much has come; raises where that is too much for the disk.
        summed: whether the file's SHA-256 is wanted.

    Raises:
        Problem: it is too large, malformed, or has no file.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise Problem(415, "the body must be multipart/form-data with a part named file")
    taker = _Taker(folder, summed)
    try:
        parser = MultipartParser(options[b"boundary"], taker.callbacks())
        total = 0
        async for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise Problem(413, f"larger than {max_bytes} bytes")
            await came(total)
            await asyncio.to_thread(parser.write, chunk)
        parser.finalize()
    except FormParserError as problem:
        raise Problem(400, "malformed multipart body") from problem
    finally:
        taker.close()
    if taker.upload.path is None:
        raise Problem(422, "file: missing", [("file", "missing: a part with a file name")])
    if not taker.finished:
        raise Problem(400, "the body ended in the middle of a part")
    return taker.upload


class _Taker:
    """What the parser calls."""

    def __init__(self, folder: Path, summed: bool) -> None:
        self.upload, self.finished, self._summed = Upload(), False, summed
        self._folder = folder
        self._header, self._value, self._headers = b"", b"", dict[bytes, bytes]()
        self._file: IO[bytes] | None = None
        self._field, self._text = "", bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._on_end,
        }

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _begin(self) -> None:
        if len(self.upload.fields) >= _FIELDS:
            raise Problem(413, f"fields: at most {_FIELDS}")
        self._headers, self._header, self._value = {}, b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header = _bounded(self._header + data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value = _bounded(self._value + data[start:end])

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode(errors="replace")
        self._text = bytearray()
        if self._field != "file":
            return
        if self.upload.path is not None:
            raise Problem(422, "file: more than one", [("file", "one part at most")])
        self.upload.name = display_name(options.get(b"filename", b"").decode(errors="replace"))
        self.upload.path = self._folder / f"upload{safe_suffix(self.upload.name)}"
        self._file = self.upload.path.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field == "file" and self._file:
            part = memoryview(data)[start:end]
            self.upload.size += self._file.write(part)
            if self._summed:
                self.upload.sum.update(part)
            return
        self._text += data[start:end]
        if len(self._text) > _FIELD_BYTES:
            raise Problem(413, f"fields: at most {_FIELD_BYTES} bytes each")

    def _end(self) -> None:
        if self._field != "file":
            self.upload.fields[self._field] = self._text.decode(errors="replace")

    def _on_end(self) -> None:
        self.finished = True


def _bounded(header: bytes) -> bytes:
    if len(header) > _HEADER_BYTES:
        raise Problem(413, f"part headers: at most {_HEADER_BYTES} bytes")
    return header
