"""HDF5's global heaps, looked at before its library reads them."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SIGNATURE = b"GCOL"
_OBJECT = struct.Struct("<H6xQ")
_HEADER = 16


def heaps_are_sound(path: Path) -> bool:
    """Whether the collections that hold texts of any length can be walked: the library does not come back from one
    whose free space has no size (found by mutation)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_SIGNATURE)
        while at >= 0:
            (size,) = struct.unpack_from("<Q", data, at + 8) if at + _HEADER <= len(data) else (0,)
            end, place = at + size, at + _HEADER
            if data[at + 4] == 1 and (size < 32 or end > len(data)):
                return False
            while data[at + 4] == 1 and place + _HEADER <= end:
                number, length = _OBJECT.unpack_from(data, place)
                step = length if number == 0 else _HEADER + (length + 7) // 8 * 8
                if step < _HEADER or place + step > end:
                    return False
                place += step
            at = data.find(_SIGNATURE, at + 4)
    return True
