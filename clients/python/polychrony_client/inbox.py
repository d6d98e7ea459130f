"""The reading side of a stream without any I/O: messages in, results out, and where to go on after a break."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from polychrony_client import results, wire
from polychrony_client.errors import Closed
from polychrony_client.outbox import RETRIED
from polychrony_client.results import Gap, Lagged, Output, Result, Rows


class Inbox:
    """What one subscriber has read.

    Args:
        stream_id: of the stream.
        outputs: all of them where none is named.
        start: from the first row on; else from now on.
        after: rows behind this one, by output.
        lossless: the sender is held back where this reader is slow.

    Attributes:
        over: whether the stream has ended and everything was read.
        reconnects: how often the connection broke and was made anew.
    """

    def __init__(
        self,
        stream_id: str,
        outputs: tuple[str, ...],
        start: bool,
        after: dict[str, int] | None,
        lossless: bool,
    ) -> None:
        self._path = f"/v1/streams/{stream_id}/results"
        self._asked, self._start, self._lossless = outputs, start, lossless
        self._after = dict(after or {})
        self._outputs: dict[int, Output] = {}
        self._gaps: set[Gap] = set()
        self._fault: dict[str, Any] = {}
        self.over = False
        self.reconnects = 0

    def path(self) -> str:
        """Where to connect to, so that nothing is missed and nothing comes twice."""
        query = [("output", output) for output in self._asked]
        query += [("after", f"{output}:{row}") for output, row in self._after.items() if row >= 0]
        query += [("from", "start")] * self._start + [("delivery", "lossless")] * self._lossless
        return f"{self._path}?{urlencode(query)}" if query else self._path

    def take(self, message: bytes | str) -> Result | None:
        """A message as a result, where it is one."""
        if isinstance(message, bytes):
            return self._remember(results.of_frame(wire.parse(message), self._outputs))
        document = json.loads(message)
        kind = document["type"]
        if kind == "hello":
            self._outputs = results.outputs_of(document)
            for (
                output
            ) in self._outputs.values():  # from now on, also where the connection breaks before a row came
                if not self._start:
                    self._after.setdefault(output.name, output.next_row - 1)
        elif kind == "error":
            self._fault = document
        elif kind == "end":
            self.over = True
        else:
            found = results.of_text(document, self._outputs)
            return None if found is None else self._remember(found)
        return None

    def columns(self, found: list[Result], output: str) -> tuple[dict[str, NDArray[Any]], int]:
        """(the rows of one output put together, all columns, too, where there are none; how many are gone)."""
        [known] = [one for one in self._outputs.values() if one.name == output]
        parts, gone, behind = [one for one in found if isinstance(one, Rows)], 0, 0
        if not parts:
            return known.no_rows(), known.first_row
        for part in parts:
            gone, behind = gone + part.first_row - behind, part.first_row + part.total
        return {
            name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
        }, gone

    def closed(self, code: int) -> Closed | None:
        """The error that a connection ended with; None where it may be made anew."""
        if code in RETRIED and self._fault.get("code") in {None, "restart"}:
            self._fault = {}
            self.reconnects += 1
            return None
        return Closed(code, self._fault.get("code", ""), self._fault.get("detail", ""))

    def _remember(self, result: Result) -> Result | None:
        if isinstance(result, Rows):
            self._after[result.output] = result.first_row + result.total - 1
        elif isinstance(result, Lagged):
            self._after[result.output] = result.to_row - 1
        elif isinstance(result, Gap):
            if result in self._gaps:  # told once more after a reconnect
                return None
            self._gaps.add(result)
        return result
