"""Recordings, one family of formats a file. :func:`identify` tells them apart by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.sources.formats import aedat2, aedat4, atis, frames, hdf5, prophesee, ros, stream, tables
from pipeline.sources.formats.reader import Faults, Options, Reader

Open = Callable[[Path, Faults, Options], Reader]

FORMATS: dict[str, Open] = {
    "EVT2": prophesee.Raw, "EVT2.1": prophesee.Raw, "EVT3": prophesee.Raw, "DAT": prophesee.Dat,
    "AEDAT2": aedat2.Aedat2, "AEDAT4": aedat4.Aedat4,
    "ES": stream.EventStream, "HDF5": hdf5.Hdf5, "ATIS bin": atis.Bin,
    "npz": tables.Npz, "npy": tables.Npy, "csv": tables.Csv, "Parquet": tables.Parquet,
    "ROS bag": ros.Bag, "PCHY": frames.FrameFile,
}  # fmt: skip
"""Formats that are read, by the name that :func:`identify` gives them."""

_MAGIC = {
    b"#!AER-DAT4": "AEDAT4", b"#!AER-DAT2": "AEDAT2", b"#!AER-DAT3": "AEDAT3.1",
    b"\x89HDF\r\n\x1a\n": "HDF5", b"Event Stream": "ES", b"PAR1": "Parquet", b"PCHY": "PCHY",
    b"PK\x03\x04": "npz", b"\x93NUMPY": "npy",
    b"#ROSBAG": "ROS bag", b"\x89MCAP0\r\n": "ROS bag", b"SQLite format 3\x00": "ROS bag",
}  # fmt: skip


def identify(head: bytes, path: Path) -> str | None:
    """The format of a recording from its first bytes, or None.

    Only the 40-bit .bin has nothing that could be recognised, and goes by its name.
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if head.startswith(b"%"):
        return prophesee.identify(head)
    if path.suffix.lower() == ".bin":
        return "ATIS bin"
    return "csv" if tables.is_table(head) else None
