"""Recordings, one family of formats a file. :func:`identify` tells them apart by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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

Open = Callable[[Path, Faults, InputOptions], Reader]

FORMATS: dict[str, Open] = {
    "EVT2": prophesee.Raw, "EVT2.1": prophesee.Raw, "EVT3": prophesee.Raw, "DAT": prophesee.Dat,
    "AEDAT1": aedat2.Aedat2, "AEDAT2": aedat2.Aedat2, "AEDAT3.1": aedat31.Aedat31, "AEDAT4": aedat4.Aedat4,
    "ES": stream.EventStream, "HDF5": hdf5.Hdf5, "ATIS bin": atis.Bin,
    "npz": arrays.Npz, "npy": arrays.Npy, "mat": arrays.Mat, "csv": text.Csv, "Parquet": parquet.Parquet,
    "ROS bag": ros.Bag, "PCHY": frames.FrameFile,
}  # fmt: skip
"""Formats that are read, by the name that :func:`identify` gives them."""

_MAGIC = {
    b"#!AER-DAT4": "AEDAT4", b"#!AER-DAT2": "AEDAT2", b"#!AER-DAT1": "AEDAT1", b"#!AER-DAT3.1": "AEDAT3.1",
    b"#!AER-DAT3": "AEDAT3.0",
    b"\x89HDF\r\n\x1a\n": "HDF5", b"Event Stream": "ES", b"PAR1": "Parquet", b"PCHY": "PCHY",
    b"\x93NUMPY": "npy", b"MATLAB 5.0": "mat",
    b"#ROSBAG": "ROS bag", b"\x89MCAP0\r\n": "ROS bag", b"SQLite format 3\x00": "ROS bag",
}  # fmt: skip


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
    if path.suffix.lower() == ".bin":
        return "ATIS bin"
    return "csv" if text.is_table(head) else None


def _first_member(head: bytes) -> str:
    """The name of the first file in a zip."""
    n = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + n].decode("latin-1").lower()
