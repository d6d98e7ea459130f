"""What a subscriber gets: rows as columns, watermarks, gaps, and word of rows that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polychrony_client import wire
from polychrony_client.objects import objects_of
from polychrony_client.wire import Message


@dataclass(frozen=True)
class Output:
    """What ``hello`` says of an output."""

    index: int
    name: str
    dtype: np.dtype[Any]
    labels: list[dict[str, Any]]
    kind: str
    first_row: int
    next_row: int

    def no_rows(self) -> dict[str, NDArray[Any]]:
        """Its columns, with nothing in them."""
        if self.kind == "events":
            kinds = {"t": np.int64, "x": np.uint16, "y": np.uint16, "p": np.bool_}
            return {name: np.empty(0, kind) for name, kind in kinds.items()}
        nothing = np.empty(0, self.dtype)
        return {name: nothing[name] for name in self.dtype.names or () if name != "zero"}

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(str(label["name"]) for label in self.labels)


@dataclass(frozen=True)
class Rows:
    """Rows of one output.

    Attributes:
        output: its name.
        first_row: number of the first row.
        columns: numpy columns by name; of events (thinned for viewing) t, x, y, p.
        total: rows that these stand for: more than there are where events were thinned.
        kind: what the rows are: detections, field, motion, movers, evidence, triggers, decisions or events.
        labels: names of the classes that ``label`` counts.
    """

    output: str
    first_row: int
    columns: dict[str, NDArray[Any]]
    total: int
    kind: str = ""
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["t"])

    def objects(self) -> Iterator[Any]:
        """The rows one by one, as :mod:`polychrony_client.objects`; columns are faster where there are many."""
        return objects_of(self.kind, self.columns, self.labels)


@dataclass(frozen=True)
class Watermark:
    """Results of an output are complete before ``t_us``."""

    output: str
    t_us: int


@dataclass(frozen=True)
class Gap:
    """The stream lost data between two times, before row ``row``."""

    output: str
    row: int
    from_us: int
    to_us: int


@dataclass(frozen=True)
class Lagged:
    """Rows that this subscriber was too slow to get, [from_row, to_row)."""

    output: str
    from_row: int
    to_row: int


Result = Rows | Watermark | Gap | Lagged


def outputs_of(hello: dict[str, Any]) -> dict[int, Output]:
    """The outputs by their index on the wire."""
    found: dict[int, Output] = {}
    for one in hello["outputs"]:
        dtype = np.dtype([(c[0], c[1], *(tuple(shape) for shape in c[2:])) for c in one["columns"]])
        found[one["index"]] = Output(
            one["index"], one["id"], dtype, one.get("labels", []), one.get("kind", ""),
            one["first_row"], one["next_row"],
        )  # fmt: skip
    return found


def of_frame(message: Message, outputs: dict[int, Output]) -> Result:
    """A binary message as a result."""
    output = outputs[message.code]
    if message.type == wire.WATERMARK:
        return Watermark(output.name, message.t_us)
    if message.type == wire.THINNED_EVENTS:
        total = int.from_bytes(message.payload[:8], "little")
        rows = np.frombuffer(message.payload, wire.AER64_ROW, message.count, 8)
        columns: dict[str, NDArray[Any]] = {
            "t": rows["t"] + np.int64(message.t_us), "x": rows["x"].copy(),
            "y": rows["y"] & np.uint16(32767), "p": rows["y"] >= 32768,
        }  # fmt: skip
        return Rows(output.name, message.number, columns, total, output.kind)
    table = np.frombuffer(message.payload, output.dtype, message.count)
    names = [name for name in table.dtype.names or () if name != "zero"]
    columns = {name: table[name].copy() for name in names}
    return Rows(output.name, message.number, columns, message.count, output.kind, output.label_names)


_DECISION = {
    "t": ("t_us", np.int64), "from_us": ("from_us", np.int64), "label": ("class", np.uint16),
    "flags": ("flags", np.uint16), "confidence": ("confidence", np.float32), "events": ("events", np.uint32),
    "steps": ("steps", np.uint32),
}  # fmt: skip


def _decision(document: dict[str, Any], outputs: dict[int, Output]) -> Rows:
    """One decision as a row like any other."""
    columns = {name: np.array([document[key]], kind) for name, (key, kind) in _DECISION.items()}
    labels = next((one.label_names for one in outputs.values() if one.name == document["output"]), ())
    return Rows(document["output"], document["row"], columns, 1, "decisions", labels)


def of_text(document: dict[str, Any], outputs: dict[int, Output]) -> Result | None:
    """A text message as a result, where it is one."""
    if document["type"] == "decision":
        return _decision(document, outputs)
    if document["type"] == "gap":
        return Gap(document["output"], document["row"], document["from_us"], document["t_us"])
    if document["type"] == "lagged":
        return Lagged(document["output"], document["from"], document["to"])
    return None
