"""Event recordings out: npz, csv and Parquet by ourselves, raw, dat, aedat4 and es through faery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import packets
from pipeline.errors import UserError
from pipeline.packets import Events
from pipeline.sinks.tables import ParquetTable, as_columns, events_port
from pipeline.spec import Sensor

SUFFIXES = (".npz", ".csv", ".parquet", ".raw", ".dat", ".aedat4", ".es")

HOLDS: dict[str, tuple[Any, int]] = {
    ".raw": ("evt2", 2**34),
    ".dat": ("dat2", 2**32),
    ".es": (None, 2**34),
    ".aedat4": (None, 2**53),
}
"""Version written, and the time in us that its clock cannot reach. (EVT3 wraps after 17 s already.)"""


class CannotWrite(UserError):
    """A format that cannot hold a recording, or a place that cannot hold answers."""


def write(path: Path, batches: Iterable[Events], sensor: Sensor) -> int:
    """Write events to ``path`` in the format of its suffix; how many there were. It appears by renaming.

    Raises:
        CannotWrite: the suffix is unknown, or the format cannot hold these events.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CannotWrite(
            f"{path.name}: cannot write {suffix or 'a file without suffix'}; "
            f"allowed are {', '.join(SUFFIXES)}"
        )
    part = path.with_name(f".{path.stem}.part{suffix}")
    try:
        n = _write(part, suffix, batches, sensor)
        part.replace(path)
    except RuntimeError as problem:  # an encoder's own words
        raise CannotWrite(f"{path.name}: cannot be written: {problem}") from problem
    finally:
        part.unlink(missing_ok=True)
    return n


def _write(path: Path, suffix: str, batches: Iterable[Events], sensor: Sensor) -> int:
    if suffix == ".parquet":
        return _parquet(path, batches, sensor)
    if suffix == ".csv":
        return _csv(path, batches)
    if suffix == ".npz":
        return _npz(path, batches, sensor)
    return _through_faery(path, batches, sensor)


def _parquet(path: Path, batches: Iterable[Events], sensor: Sensor) -> int:
    n = 0
    with ParquetTable(path, events_port(sensor)) as table:
        for batch in batches:
            table.add(as_columns(batch))
            n += len(batch[0])
    return n


def _csv(path: Path, batches: Iterable[Events]) -> int:
    n = 0
    with path.open("w") as file:
        file.write("t,x,y,p\n")
        for batch in batches:
            np.savetxt(file, np.stack([column.astype(np.int64) for column in batch], axis=1), "%d", ",")
            n += len(batch[0])
    return n


def _npz(path: Path, batches: Iterable[Events], sensor: Sensor) -> int:
    t, x, y, p = packets.join(list(batches))
    with path.open("wb") as file:
        np.savez_compressed(file, t=t, x=x, y=y, p=p, sensor=np.array([sensor.width, sensor.height]))
    return len(t)


def _through_faery(path: Path, batches: Iterable[Events], sensor: Sensor) -> int:
    import faery  # noqa: PLC0415 - half a second that only conversions need
    from faery import file_encoder  # noqa: PLC0415

    written = 0
    version, largest_us = HOLDS.get(path.suffix.lower(), (None, 2**53))

    def stream() -> Iterator[Any]:
        nonlocal written
        for t, x, y, p in batches:
            if len(t) and int(t[-1]) >= largest_us:
                raise CannotWrite(
                    f"{path.suffix} holds times below {largest_us} us, not {int(t[-1])}; "
                    "subtract the first event's time with --zero-time"
                )
            rows = np.empty(len(t), faery.EVENTS_DTYPE)
            rows["t"], rows["x"], rows["y"], rows["on"] = t, x, y, p
            written += len(t)
            yield rows

    file_encoder.events_to_file(
        stream(), path, (sensor.width, sensor.height), version=version, zero_t0=False, use_write_suffix=False
    )
    return written
