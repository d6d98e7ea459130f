"""Results and events as Parquet, and results as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.errors import UserError
from pipeline.models.bundle import MotifLabel
from pipeline.optional_imports import later
from pipeline.packets import Columns, Events
from pipeline.rows import RowDigest, Rows, layout, unpack
from pipeline.sensor import Sensor
from pipeline.stage import Port

pa = later("pyarrow", "Parquet")
pq = later("pyarrow.parquet", "Parquet")

JSON_ROWS = 50_000
"""A JSON file holds at most this many rows, and says how many there are; Parquet holds all."""
_ROW_GROUP = 262_144


class ParquetTable:
    """Appends columns to a Parquet file, row group by row group, in bounded memory."""

    def __init__(self, path: Path, port: Port) -> None:
        self._path = path
        self._schema = _schema(port)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=False)
        self._waiting: list[Columns] = []
        self._rows = 0

    def add(self, columns: Columns) -> None:
        """Append rows."""
        if len(columns["t"]):
            self._waiting.append(columns)
            self._rows += len(columns["t"])
        if self._rows >= _ROW_GROUP:
            self._write()

    def close(self) -> None:
        """Write what is left."""
        self._write()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        if not self._waiting:
            return
        arrays: list[Any] = []
        for entry in self._schema:
            column = np.concatenate([part[entry.name] for part in self._waiting])
            if column.ndim == 2:
                flat = pa.array(column.ravel(), entry.type.value_type)
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, column.shape[1]))
            else:
                arrays.append(pa.array(column, entry.type))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._waiting, self._rows = [], 0


class JsonTable:
    """The first rows of an output as one JSON document of columns, with the count of all."""

    def __init__(self, path: Path, output: str, port: Port) -> None:
        self._path, self._output, self._port = path, output, port
        self._parts: list[Columns] = []
        self._held = self._total = 0

    def add(self, columns: Columns) -> None:
        """Append rows."""
        n = len(columns["t"])
        room = max(0, JSON_ROWS - self._held)
        if n and room:
            self._parts.append({name: column[:room] for name, column in columns.items()})
        self._held += min(n, room)
        self._total += n

    def close(self) -> None:
        """Write the document."""
        names = list(unpack(np.zeros(0, layout(self._port)), self._port))
        columns = {name: [v for part in self._parts for v in part[name].tolist()] for name in names}
        document = {
            "output": self._output,
            "type": self._port.kind,
            "labels": [label.name for label in self._port.labels],
            "rows_total": self._total,
            "rows_here": self._held,
            "columns": columns,
        }
        self._path.write_text(json.dumps(document, separators=(",", ":")) + "\n")


def events_port(sensor: Sensor) -> Port:
    """The port of plain events."""
    return Port("events", sensor.width, sensor.height)


def as_columns(events: Events) -> Columns:
    """Columns by name."""
    return dict(zip("txyp", events, strict=True))


class NoTable(UserError):
    """A file that is no table of results."""


def is_results(path: Path) -> bool:
    """Whether this is a Parquet file that :class:`ParquetTable` wrote."""
    try:
        return b"polychrony" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def read_digest(path: Path) -> str:
    """The digest over the rows of a Parquet file that :class:`ParquetTable` wrote.

    Raises:
        NoTable: it is none.
    """
    try:
        file = pq.ParquetFile(path)
        meta = json.loads((file.schema_arrow.metadata or {})[b"polychrony"])
    except (KeyError, pa.ArrowException, OSError) as problem:
        raise NoTable(f"{path.name}: not a table of Polychrony's") from problem
    labels = tuple(MotifLabel(name=name) for name in meta["labels"])
    port = Port(meta["kind"], meta["width"], meta["height"], labels)
    digest = RowDigest(port)
    for batch in file.iter_batches(batch_size=_ROW_GROUP):
        digest.add(_rows_of(batch, port))
    return digest.hexdigest()


def _rows_of(batch: Any, port: Port) -> Rows:
    rows = np.zeros(batch.num_rows, layout(port))
    for name in rows.dtype.names or ():
        if name == "zero":
            continue
        column = batch.column(name)
        if name == "evidence":
            rows[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        else:
            rows[name] = column.to_numpy(zero_copy_only=False)
    if port.kind == "events":
        rows["y"] |= batch.column("p").to_numpy(zero_copy_only=False).astype(np.uint16) << np.uint16(15)
    return rows


def _schema(port: Port) -> Any:
    columns = unpack(np.zeros(0, layout(port)), port)
    fields: list[Any] = []
    for name, column in columns.items():
        kind: Any = pa.from_numpy_dtype(column.dtype)
        fields.append(pa.field(name, pa.list_(kind, column.shape[1]) if column.ndim == 2 else kind))
    meta = {
        "kind": port.kind, "width": port.width, "height": port.height,
        "labels": [label.name for label in port.labels],
    }  # fmt: skip
    return pa.schema(fields, metadata={"polychrony": json.dumps(meta)})
