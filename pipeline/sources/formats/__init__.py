"""Recordings, one family of formats a file. :func:`identify` tells them apart by content."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import first_line
from pipeline.sources.formats import (
    aedat2,
    aedat4,
    aedat31,
    arrays,
    atis,
    frames,
    hdf5,
    parquet,
    prophesee,
    ros,
    stream,
    text,
)
from pipeline.sources.formats.reader import Faults, InputOptions, Reader
from pipeline.sources.options import FORMAT_NAMES

Open = Callable[[Path, Faults, InputOptions], Reader]

FORMATS: dict[str, Open] = {
    "EVT2": prophesee.Raw, "EVT2.1": prophesee.Raw, "EVT3": prophesee.Raw, "DAT": prophesee.Dat,
    "AEDAT1": aedat2.Aedat2, "AEDAT2": aedat2.Aedat2, "AEDAT3.1": aedat31.Aedat31, "AEDAT4": aedat4.Aedat4,
    "ES": stream.EventStream, "HDF5": hdf5.Hdf5, "ATIS bin": atis.Bin,
    "npz": arrays.Npz, "npy": arrays.Npy, "mat": arrays.Mat, "csv": text.Csv, "Parquet": parquet.Parquet,
    "ROS bag": ros.Bag, "PCHY": frames.FrameFile,
}  # fmt: skip
"""Formats that are read, by the name that :func:`identify` gives them: those above, and those of plug-ins."""

FORMAT_NAMES[:0] = FORMATS

_MAGIC = {
    b"#!AER-DAT4": "AEDAT4", b"#!AER-DAT2": "AEDAT2", b"#!AER-DAT1": "AEDAT1", b"#!AER-DAT3.1": "AEDAT3.1",
    b"#!AER-DAT3": "AEDAT3.0",
    b"\x89HDF\r\n\x1a\n": "HDF5", b"Event Stream": "ES", b"PAR1": "Parquet", b"PCHY": "PCHY",
    b"\x93NUMPY": "npy", b"MATLAB 5.0": "mat",
    b"#ROSBAG": "ROS bag", b"\x89MCAP0\r\n": "ROS bag", b"SQLite format 3\x00": "ROS bag",
}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A format of a plug-in (:mod:`pipeline.plugins`).

    Attributes:
        name: as users write it after ``--format``.
        open: makes its reader (:class:`pipeline.sources.formats.reader.Reader`) of a path, the faults that it counts,
            and the options of the input; raises SourceError where it cannot be read.
        identify: whether a file is of this format, by its first 65,536 bytes and its name; asked where no format
            that comes with Polychrony claims it by its first bytes.
    """

    name: str
    open: Open
    identify: Callable[[bytes, Path], bool] = lambda head, path: False


_of_plugins: list[Format] = []


def add(format_: Any) -> str:
    """Make a format known. Returns its name.

    Raises:
        TypeError: it is no :class:`Format`.
        ValueError: the name is taken.
    """
    if not isinstance(format_, Format):
        raise TypeError(f"{format_!r} is no pipeline.sources.formats.Format")
    name: Any = format_.name
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,31}", name):
        raise ValueError(f"format {name!r}: allowed are letters, digits, blanks and . _ + -, 32 at most")
    if format_ not in _of_plugins:
        if format_.name.casefold() in {name.casefold() for name in FORMAT_NAMES}:
            raise ValueError(f"there is a format of the name {format_.name!r} already")
        _of_plugins.append(format_)
        FORMATS[format_.name] = format_.open
        FORMAT_NAMES.append(format_.name)
    return format_.name


def forget(names: Collection[str]) -> None:
    """Take back formats that were added."""
    for one in [one for one in _of_plugins if one.name in names]:
        _of_plugins.remove(one)
        FORMAT_NAMES.remove(one.name)
        del FORMATS[one.name]


def identify(head: bytes, path: Path) -> str | None:
    """The format of a recording from its first bytes, or None.

    Only the 40-bit .bin has nothing that could be recognised, and goes by its name.
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if head.startswith(b"PK\x03\x04"):
        is_npz = path.suffix.lower() == ".npz" or _first_member(head).endswith(".npy")
        return "npz" if is_npz else "csv"  # a zip with one table in it
    if head.startswith(b"%") and (kind := prophesee.identify(head)):
        return kind
    if (own := next((one.name for one in _of_plugins if _claims(one, head, path)), None)) is not None:
        return own
    if path.suffix.lower() == ".bin":
        return "ATIS bin"
    return "csv" if text.is_table(head) else None


def _claims(format_: Format, head: bytes, path: Path) -> bool:
    try:
        return bool(format_.identify(head, path))
    except Exception as problem:  # a fault of one plug-in must not keep other files from being read
        warnings.warn(f"format {format_.name}: identify failed: {first_line(problem)}", stacklevel=2)
        return False


def _first_member(head: bytes) -> str:
    """The name of the first file in a zip."""
    n = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + n].decode("latin-1").lower()
