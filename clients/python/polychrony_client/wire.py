"""The binary frames of the stream protocol, to the byte; see docs/protocol.md of the service.

All little-endian: 4 bytes magic "PCHY", u8 version, u8 type, u16 code, u64 number, i64 t_us, u32 count,
u32 CRC-32 over the 28 bytes before it and the payload.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENTS, HEARTBEAT, LABEL, END, GAP, EDGES = 1, 2, 3, 4, 5, 6
AER64, EVT2, EVT3 = 0, 1, 2
DETECTIONS, THINNED_EVENTS, FIELD, EVIDENCE, WATERMARK, TRIGGERS, MOTION, MOVERS = range(16, 24)
HEADER = struct.Struct("<4sBBHQqII")
AER64_ROW = np.dtype([("t", "<u4"), ("x", "<u2"), ("y", "<u2")])
EDGE_ROW = np.dtype([("t", "<u4"), ("channel", "<u2"), ("level", "<u2")])
LARGEST_STEP_US = 2**32 - 1


@dataclass(frozen=True)
class Message:
    """A frame as it came."""

    type: int
    code: int
    number: int
    t_us: int
    count: int
    payload: bytes


def build(type_: int, code: int, number: int, t_us: int, count: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    head = HEADER.pack(b"PCHY", 1, type_, code, number, t_us, count, 0)[:28]
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def parse(data: bytes) -> Message:
    """The frame in one message.

    Raises:
        ValueError: it is none.
    """
    if len(data) < HEADER.size:
        raise ValueError("shorter than a frame's header")
    magic, version, type_, code, number, t_us, count, checksum = HEADER.unpack_from(data)
    if magic != b"PCHY" or version != 1:
        raise ValueError("not a frame of version 1")
    payload = data[HEADER.size :]
    if zlib.crc32(payload, zlib.crc32(data[:28])) != checksum:
        raise ValueError("wrong checksum")
    return Message(type_, code, number, t_us, count, payload)


def pack_events(
    t: NDArray[np.integer], x: NDArray[np.integer], y: NDArray[np.integer], p: NDArray[Any]
) -> tuple[int, bytes]:
    """Events as ``aer64``: (t_us, payload). Times must not fall and span less than 2^32 us."""
    start = int(t[0])
    rows = np.empty(len(t), AER64_ROW)
    rows["t"], rows["x"] = t - start, x
    rows["y"] = y.astype(np.uint16) | ((p > 0).astype(np.uint16) << 15)
    return start, rows.tobytes()
