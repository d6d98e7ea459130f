"""Reading the results of a stream, on a connection of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from polychrony_client import results, wire
from polychrony_client.errors import Closed
from polychrony_client.results import Result
from polychrony_client.transport import Transport


def subscribe(
    transport: Transport, stream_id: str, outputs: tuple[str, ...],
    start: bool, after: dict[str, int] | None, lossless: bool,
) -> Iterator[Result]:  # fmt: skip
    """Results as they come to be, until the stream ends; connected before this returns."""
    query = [("output", output) for output in outputs]
    query += [("after", f"{output}:{row}") for output, row in (after or {}).items()]
    query += [("from", "start")] * start + [("delivery", "lossless")] * lossless
    path = f"/v1/streams/{stream_id}/results"
    return _iterate(transport.connect(f"{path}?{urlencode(query)}" if query else path))


def _iterate(socket: ClientConnection) -> Iterator[Result]:
    """Results from a connection, until the service ends it.

    Raises:
        Closed: it ended for a fault.
    """
    fault: dict[str, Any] = {}
    outputs: dict[int, results.Output] = {}
    with socket:
        try:
            for message in socket:
                if isinstance(message, bytes):
                    yield results.of_frame(wire.parse(message), outputs)
                    continue
                document = json.loads(message)
                if document["type"] == "hello":
                    outputs = results.outputs_of(document)
                elif document["type"] == "error":
                    fault = document
                elif (result := results.of_text(document)) is not None:
                    yield result
        except ConnectionClosed as problem:
            close = problem.rcvd.code if problem.rcvd else 1006
            raise Closed(close, fault.get("code", ""), fault.get("detail", "")) from problem
