"""Files of frames: a stream that was recorded as it came, behind a frame that says what it was asked to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import wire
from pipeline.errors import UserError
from pipeline.wire import BadFrame, Frame

_MOST_ABOUT = 2**24


class FrameFileError(UserError):
    """A file that holds no frames, or frames that are damaged."""


def about(path: Path) -> dict[str, Any]:
    """What the stream was asked to be: its pipeline, sensor, policy and the rest of the request.

    Raises:
        FrameFileError: the file does not say.
    """
    first = next(frames(path), None)
    try:
        if first is None or first.type != wire.STREAM or first.count > _MOST_ABOUT:
            raise ValueError
        document = json.loads(bytes(first.payload))
        if not isinstance(document, dict):
            raise TypeError
    except (ValueError, TypeError, RecursionError) as problem:
        raise FrameFileError(f"{path.name}: not a recording of a stream") from problem
    return document


def frames(path: Path) -> Iterator[Frame]:
    """All frames, up to one that is cut off.

    Raises:
        FrameFileError: one is damaged.
    """
    at, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(wire.HEADER_BYTES)) == wire.HEADER_BYTES:
            size = wire.payload_bytes(head)
            if at + len(head) + size > end:
                return
            try:
                yield wire.parse(head + file.read(size))
            except BadFrame as problem:
                raise FrameFileError(f"{path.name}: damaged at byte {at}: {problem}") from problem
            at += len(head) + size
