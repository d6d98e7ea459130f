"""Rows of an output as a document for others."""

from __future__ import annotations

import json
from typing import Any

from pipeline.packets import EARLY
from pipeline.rows import Rows
from service.storage.records import Message
from service.streams import Stream
from service.streams.row_store import RowStore

_HIDDEN = {"zero"}


def message(stream: Stream, feed: RowStore, first: int, rows: Rows) -> Message:
    """Rows ``first`` and on of an output; their numbers never skip, unless some were lost."""
    told = [one_row(feed, row) for row in rows]
    id_ = f"{stream.id}-{feed.name}-{first}-{first + len(rows) - 1}"  # which rows may be parted anew after a crash
    document = {
        "id": id_, "stream": stream.id, "name": stream.request.name, "output": feed.name, "kind": feed.port.kind,
        "epoch_ns": stream.request.epoch_ns, "first_row": first, "rows": told,
    }  # fmt: skip
    name = stream.request.name or stream.id
    body = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return Message(id_, f"{name}/{feed.name}", body, len(rows))


def one_row(feed: RowStore, row: Any) -> dict[str, Any]:
    """A row by the names of its columns, its label in words; ``t_us`` is stream time."""
    found: dict[str, Any] = {"t_us": int(row["t"])}
    for name in row.dtype.names:
        if name == "t" or name in _HIDDEN:
            continue
        value = row[name].item()
        found[name] = round(value, 6) if isinstance(value, float) else value
    if "label" in found:
        found["class"], found["label"] = found["label"], feed.port.labels[found["label"]].name
    if feed.port.kind == "decisions":
        found["early"] = bool(found["flags"] & EARLY)
    return found
