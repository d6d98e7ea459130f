"""Events as Parquet tables, through pyarrow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.optional_imports import later
from pipeline.sources.base import Reading
from pipeline.sources.formats.columns import TableReader, roles
from pipeline.sources.formats.reader import CHUNK_EVENTS, sensor_of

pq = later("pyarrow.parquet", "reading Parquet")


class Parquet(TableReader):
    """A table with columns t, x, y, p, such as ``analyze`` writes."""

    def parts(self) -> Iterator[Reading]:
        """See :class:`Reader`."""
        self.begin()
        with pq.ParquetFile(self.path) as file:
            names = file.schema_arrow.names
            found, self.unit = roles(names, self.faults)
            if len(found) < 4:
                raise self.faults.error(f"needs columns t, x, y, p; it has {', '.join(names)}")
            self._read_meta(file.schema_arrow.metadata or {})
            total, read = max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(batch_size=CHUNK_EVENTS, columns=list(found.values())):
                read += batch.num_rows
                # Of a column with one null numpy would make floats, and of those seconds.
                whole = batch.drop_null()
                bad = batch.num_rows - whole.num_rows
                self.faults.found("dropped_unusable_rows", bad, f"{bad} rows with nothing in t, x, y or p")
                columns = {
                    role: whole.column(name).to_numpy(zero_copy_only=False) for role, name in found.items()
                }
                yield self.reading(columns, read / total)

    def _read_meta(self, meta: dict[bytes, bytes]) -> None:
        stated = re.search(rb'"width": *(\d{1,5}).*?"height": *(\d{1,5})', meta.get(b"polychrony", b""))
        if stated:
            self.unit = "us"
            self.sensor = sensor_of(int(stated[1]), int(stated[2]))
