"""Every kind of rows, once: its columns, its layout, its order, its place on the wire.

A new kind is an entry here, and statistics for the report in ``pipeline/sinks/statistics.py``. The service and the
sinks read this table, and the documents and both clients are tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline import wire

Kind = Literal["events", "detections", "field", "evidence", "motion", "movers", "triggers", "decisions"]
Published = Literal["decisions", "detections", "field", "motion", "movers", "triggers"]
"""Kinds that can be sent to MQTT brokers and webhooks."""


@dataclass(frozen=True)
class RowKind:
    """One kind of rows.

    Attributes:
        columns: dtype of each column within a pipeline, all [n].
        layout: of a row on the wire, in files and under a digest: little-endian, ``zero`` fills up to whole words.
            Of evidence, what comes before its one float32 per class.
        order: columns that rows of the same time are sorted by; none where there is one row a window. ``p`` of
            events lies in bit 15 of ``y``.
        frame: type of its frames on the wire; None where rows go as text.
        most_rows: rows of one message, where not as many as fit.
        per_class: whether a float32 per class follows.
    """

    columns: dict[str, type]
    layout: np.dtype[Any]
    order: tuple[str, ...]
    frame: int | None
    most_rows: int | None = None
    per_class: bool = False


_PLACE = {"t": np.int64, "x": np.uint16, "y": np.uint16}

ROW_KINDS: dict[Kind, RowKind] = {
    "events": RowKind(
        {**_PLACE, "p": np.bool_},
        np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("zero", "<u4")]),
        ("y", "x", "p"), wire.THINNED_EVENTS, most_rows=262_144,
    ),
    "detections": RowKind(
        {**_PLACE, "label": np.uint16, "flags": np.uint16, "score": np.float32},
        np.dtype([
            ("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("label", "<u2"), ("flags", "<u2"), ("score", "<f4"),
            ("zero", "<u4"),
        ]),
        ("y", "x", "label"), wire.DETECTIONS,
    ),
    "field": RowKind(
        {**_PLACE, "vx": np.float32, "vy": np.float32, "confidence": np.float32, "flags": np.uint32},
        np.dtype([
            ("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("vx", "<f4"), ("vy", "<f4"), ("confidence", "<f4"),
            ("flags", "<u4"), ("zero", "<u4"),
        ]),
        ("y", "x"), wire.FIELD,
    ),
    "evidence": RowKind(
        {**_PLACE, "evidence": np.float32, "flags": np.uint16},
        np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("zero", "<u4")]),
        ("y", "x"), wire.EVIDENCE, per_class=True,
    ),
    "motion": RowKind(
        {
            "t": np.int64, "vx": np.float32, "vy": np.float32, "zoom": np.float32, "rotation": np.float32,
            "confidence": np.float32, "flags": np.uint32,
        },
        np.dtype([
            ("t", "<i8"), ("vx", "<f4"), ("vy", "<f4"), ("zoom", "<f4"), ("rotation", "<f4"),
            ("confidence", "<f4"), ("flags", "<u4"),
        ]),
        (), wire.MOTION,
    ),
    "movers": RowKind(
        {
            **_PLACE, "width": np.uint16, "height": np.uint16, "vx": np.float32, "vy": np.float32,
            "confidence": np.float32, "flags": np.uint32, "id": np.uint32, "tiles": np.uint32,
        },
        np.dtype([
            ("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("width", "<u2"), ("height", "<u2"), ("vx", "<f4"),
            ("vy", "<f4"), ("confidence", "<f4"), ("flags", "<u4"), ("id", "<u4"), ("tiles", "<u4"),
        ]),
        ("y", "x"), wire.MOVERS,
    ),
    "triggers": RowKind(
        {"t": np.int64, "channel": np.uint16, "level": np.uint16},
        np.dtype([("t", "<i8"), ("channel", "<u2"), ("level", "<u2"), ("zero", "<u4")]),
        ("channel", "level"), wire.TRIGGERS,
    ),
    "decisions": RowKind(
        {
            "t": np.int64, "from_us": np.int64, "label": np.uint16, "flags": np.uint16,
            "confidence": np.float32, "events": np.uint32, "steps": np.uint32,
        },
        np.dtype([
            ("t", "<i8"), ("from_us", "<i8"), ("label", "<u2"), ("flags", "<u2"), ("confidence", "<f4"),
            ("events", "<u4"), ("steps", "<u4"),
        ]),
        (), None, most_rows=256,
    ),
}  # fmt: skip
