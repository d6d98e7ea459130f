"""Event recordings out, in bounded memory: EVT2, EVT3 and DAT by our own encoders, AEDAT4 and ES through
faery, HDF5 through h5py, npz, csv and Parquet as tables."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import h5py
import numpy as np

from kernels import encode
from kernels.encode import Encoder
from pipeline.errors import UserError
from pipeline.optional import later
from pipeline.sinks.tables import ParquetTable, as_columns, events_port
from pipeline.sources.base import Reading
from pipeline.spec import Sensor

pa = later("pyarrow", "writing CSV")
pc = later("pyarrow.csv", "writing CSV")


class CannotWrite(UserError):
    """A format that cannot hold a recording, or a place that cannot hold answers."""


class Written:
    """What went into a file.

    Attributes:
        events: how many.
        triggers: edges on trigger inputs that were written.
        triggers_left_out: those for which the format has no place.
    """

    def __init__(self) -> None:
        self.events = self.triggers = self.triggers_left_out = 0

    def pass_by(self, readings: Iterable[Reading], takes_triggers: bool = False) -> Iterator[Reading]:
        """The same readings, counted."""
        for reading in readings:
            self.events += len(reading.events[0])
            self.triggers += len(reading.triggers) if takes_triggers else 0
            self.triggers_left_out += 0 if takes_triggers else len(reading.triggers)
            if len(reading.events[0]) or len(reading.triggers):
                yield reading


def write(
    path: Path, readings: Iterable[Reading], sensor: Sensor, format_: str | None = None, epoch_ns: int = 0
) -> Written:
    """Write events to ``path``; it appears by renaming.

    Args:
        path: where to.
        readings: events and triggers in order of time.
        sensor: the pixel grid.
        format_: a name of :data:`FORMATS`; by default what the suffix stands for.
        epoch_ns: nanoseconds since 1970 at stream time 0, where the format has a place for it.

    Raises:
        CannotWrite: format or suffix are unknown, there are no events, or the format cannot hold them.
    """
    suffix = path.suffix.lower()
    if format_ is None and suffix not in SUFFIXES:
        raise CannotWrite(
            f"{path.name}: cannot write {suffix or 'a file without suffix'}; allowed are {', '.join(SUFFIXES)}"
        )
    # faery goes by the suffix
    own = next((mark for mark, name in SUFFIXES.items() if name == (format_ or SUFFIXES[suffix])), suffix)
    part = path.with_name(f".{path.stem}.part{own}")
    written = Written()
    try:
        with_triggers, run = FORMATS[format_ or SUFFIXES[suffix]]
        run(part, written.pass_by(readings, with_triggers), sensor, epoch_ns)
        if written.events == 0:
            raise CannotWrite("there are no events to write")
        part.replace(path)
    except CannotWrite as problem:
        raise CannotWrite(f"{path.name}: {problem}") from problem
    except UserError:  # of the input, and it says so
        raise
    except (RuntimeError, ValueError, OverflowError) as problem:  # an encoder's own words
        raise CannotWrite(f"{path.name}: cannot be written: {problem}") from problem
    finally:
        part.unlink(missing_ok=True)
    return written


def _evt(version: str, word_bytes: int) -> Callable[[Path, Iterable[Reading], Sensor, int], None]:
    def run(path: Path, readings: Iterable[Reading], sensor: Sensor, _: int) -> None:
        encoder = Encoder(word_bytes)
        with path.open("wb") as file:
            name = f"EVT{version[0]}"
            file.write(
                f"% evt {version}\n% format {name};height={sensor.height};width={sensor.width}\n"
                f"% geometry {sensor.width}x{sensor.height}\n% end\n".encode()
            )
            for reading in readings:
                try:
                    file.write(encode.encode(encoder, reading.events, reading.triggers))
                except ValueError as problem:
                    hint = "; subtract the first time with --zero-time" if "wrap" in str(problem) else ""
                    raise CannotWrite(f"{name} {problem}{hint}") from problem

    return run


def _dat(path: Path, readings: Iterable[Reading], sensor: Sensor, _: int) -> None:
    with path.open("wb") as file:
        file.write(
            b"% Data file containing CD events.\n% Version 2\n"
            + f"% Height {sensor.height}\n% Width {sensor.width}\n".encode()
            + bytes([12, 8])
        )
        newest = 0
        for reading in readings:
            t, x, y, p = reading.events
            if len(t) == 0:
                continue
            if max(int(x.max()), int(y.max())) >= 2**14:
                raise CannotWrite("DAT holds columns and rows below 16384")
            # Its 32-bit clock wraps: whoever reads it counts the falls, and misses a silence of an hour.
            if int(np.diff(t, prepend=newest).max()) >= 2**31:
                raise CannotWrite(
                    "DAT cannot hold a step of 2^31 us; subtract the first time with --zero-time"
                )
            newest = int(t[-1])
            rows = np.empty((len(t), 2), "<u4")
            rows[:, 0] = t & 0xFFFFFFFF
            rows[:, 1] = x.astype(np.uint32) | y.astype(np.uint32) << 14 | p.astype(np.uint32) << 28
            file.write(rows.tobytes())


def _aedat4(path: Path, readings: Iterable[Reading], sensor: Sensor, _: int) -> None:
    _through_faery(path, readings, sensor, 2**53)


def _es(path: Path, readings: Iterable[Reading], sensor: Sensor, _: int) -> None:
    _through_faery(path, readings, sensor, 2**34)


def _through_faery(path: Path, readings: Iterable[Reading], sensor: Sensor, largest_us: int) -> None:
    import faery  # noqa: PLC0415 - half a second that only such files need
    from faery import file_encoder  # noqa: PLC0415

    def stream() -> Iterator[Any]:
        for reading in readings:
            t, x, y, p = reading.events
            if len(t) and int(t[-1]) >= largest_us:
                raise CannotWrite(
                    f"{path.suffix} holds times below {largest_us} us, not {int(t[-1])}; "
                    "subtract the first event's time with --zero-time"
                )
            rows = np.empty(len(t), faery.EVENTS_DTYPE)
            rows["t"], rows["x"], rows["y"], rows["on"] = t, x, y, p
            yield rows

    file_encoder.events_to_file(
        stream(), path, (sensor.width, sensor.height), zero_t0=False, use_write_suffix=False
    )


def _hdf5(path: Path, readings: Iterable[Reading], sensor: Sensor, epoch_ns: int) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["width"], file.attrs["height"], file.attrs["epoch_ns"] = (
            sensor.width,
            sensor.height,
            epoch_ns,
        )
        group = file.create_group("events")
        sets = {
            name: group.create_dataset(
                name, (0,), kind, maxshape=(None,), chunks=(65536,), compression="gzip", compression_opts=1,
                shuffle=True,
            )
            for name, kind in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"))
        }  # fmt: skip
        for reading in readings:
            for name, column in zip("txyp", reading.events, strict=True):
                data: Any = sets[name]
                n = len(data)
                data.resize(n + len(column), axis=0)
                data[n:] = column


def _npz(path: Path, readings: Iterable[Reading], sensor: Sensor, epoch_ns: int) -> None:
    """Columns one after the other, as a zip wants them: they wait on disk until all are there."""
    with TemporaryDirectory(dir=path.parent, prefix=".npz-") as folder:
        kinds = {"t": "<i8", "x": "<u2", "y": "<u2", "p": "|b1"}
        files = {name: (Path(folder) / name).open("wb+") for name in kinds}
        n = 0
        for reading in readings:
            n += len(reading.events[0])
            for name, column in zip("txyp", reading.events, strict=True):
                files[name].write(column.astype(kinds[name], copy=False).tobytes())
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, file in files.items():
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _array_header(member, kinds[name], n)
                    shutil.copyfileobj(file, member, 2**20)
                file.close()
            for name, values in (("sensor", [sensor.width, sensor.height]), ("epoch_ns", [epoch_ns])):
                with archive.open(f"{name}.npy", "w") as member:
                    _array_header(member, "<i8", len(values))
                    member.write(np.array(values, "<i8").tobytes())


def _array_header(file: IO[bytes], kind: str, n: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": (n,)})


def _csv(path: Path, readings: Iterable[Reading], _: Sensor, __: int) -> None:
    schema = pa.schema([("t", pa.int64()), ("x", pa.uint16()), ("y", pa.uint16()), ("p", pa.uint8())])
    with pc.CSVWriter(path, schema, write_options=pc.WriteOptions(quoting_header="none")) as file:
        for reading in readings:
            columns = zip(reading.events, schema, strict=True)
            arrays = [pa.array(column.astype(entry.type.to_pandas_dtype())) for column, entry in columns]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _parquet(path: Path, readings: Iterable[Reading], sensor: Sensor, _: int) -> None:
    with ParquetTable(path, events_port(sensor)) as table:
        for reading in readings:
            table.add(as_columns(reading.events))


FORMATS: dict[str, tuple[bool, Callable[[Path, Iterable[Reading], Sensor, int], None]]] = {
    "EVT2": (True, _evt("2.0", 4)), "EVT3": (True, _evt("3.0", 2)), "DAT": (False, _dat),
    "AEDAT4": (False, _aedat4), "ES": (False, _es), "HDF5": (False, _hdf5), "npz": (False, _npz),
    "csv": (False, _csv), "Parquet": (False, _parquet),
}  # fmt: skip
"""Formats that are written: whether they hold triggers, and how."""

SUFFIXES = {
    ".raw": "EVT3", ".dat": "DAT", ".aedat4": "AEDAT4", ".es": "ES", ".h5": "HDF5", ".hdf5": "HDF5",
    ".npz": "npz", ".csv": "csv", ".txt": "csv", ".parquet": "Parquet",
}  # fmt: skip
"""What a suffix stands for; EVT2 is written where it is asked for."""
