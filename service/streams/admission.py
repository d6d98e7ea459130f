"""What a realtime stream decided: which frames it shed, as lines of JSON that a replay can follow."""

from __future__ import annotations

import json
from pathlib import Path

from service.streams.log import write_all

_MOST_BYTES = 16 * 2**20


class AdmissionLog:
    """Runs of frames that were shed, each a line ``{"shed": [first, last], "events": n}``.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run: tuple[int, int, int] | None = None
        self._size = 0
        self.full = False

    def shed(self, number: int, events: int) -> None:
        """A frame was shed."""
        if self._run and number == self._run[1] + 1:
            self._run = self._run[0], number, self._run[2] + events
            return
        self.flush()
        self._run = number, number, events

    def flush(self) -> None:
        """Write down what is known; OSError where the disk does not take it, and then it is still to be written."""
        if self._run is None or self.full:
            return
        first, last, events = self._run
        line = json.dumps({"shed": [first, last], "events": events}).encode() + b"\n"
        if self._size + len(line) > _MOST_BYTES:  # said in `stats`; the counts go on
            self.full = True
            return
        with self.path.open("ab", buffering=0) as file:
            try:
                write_all(file.fileno(), [line])
            except OSError:
                file.truncate(self._size)
                raise
        self._run, self._size = None, self._size + len(line)
