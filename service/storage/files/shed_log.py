"""What a realtime stream decided, as lines of JSON that a replay can follow: what it shed, how often it evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.writing import write_all

_MOST_BYTES = 16 * 2**20


class ShedFile:
    """Runs of frames that were shed, each ``{"shed": [first, last], "events": n}``, and changes of the evaluation
    stride, each ``{"stride": n, "from": frame}``; a line each.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run: tuple[int, int, int] | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self.full = False

    def shed(self, number: int, events: int) -> None:
        """A frame was shed."""
        if self._run and number == self._run[1] + 1:
            self._run = self._run[0], number, self._run[2] + events
            return
        self._end_run()
        self._run = number, number, events

    def stride(self, number: int, stride: int) -> None:
        """From frame ``number`` on detectors evaluate at a ``stride``-th of the places."""
        self._end_run()
        self._add({"stride": stride, "from": number})

    def flush(self) -> None:
        """Write down what is known; OSError where the disk does not take it, and then it is still to be written."""
        self._end_run()
        while self._lines and not self.full:
            line = self._lines[0]
            if self._size + len(line) > _MOST_BYTES:  # said in `stats`; the counts go on
                self.full = True
                break
            self._write(line)
            self._lines.pop(0)
        if self.full:
            self._lines.clear()

    def _write(self, line: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            try:
                write_all(file.fileno(), [line])
            except OSError:
                file.truncate(self._size)
                raise
        self._size += len(line)

    def _end_run(self) -> None:
        if self._run is not None:
            first, last, events = self._run
            self._run = None
            self._add({"shed": [first, last], "events": events})

    def _add(self, document: dict[str, Any]) -> None:
        self._lines.append(json.dumps(document).encode() + b"\n")
