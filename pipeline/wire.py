"""The binary frames of the stream protocol, to the byte (docs/protocol.md).

offset  0  4 bytes  magic "PCHY"
        4  u8       version = 1
        5  u8       type
        6  u16      code: encoding on ingest, output index on results
        8  u64      number: sequence on ingest, first row on results
       16  i64      t_us
       24  u32      count: rows, or bytes where said
       28  u32      CRC-32 (zlib's) over header bytes 0-27 and the payload
All little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from isal.isal_zlib import crc32  # zlib's sum, with the processor's own multiplication: fifteen times as fast

MAGIC, VERSION = b"PCHY", 1
HEADER = struct.Struct("<4sBBHQqII")
HEADER_BYTES = HEADER.size

EVENTS, HEARTBEAT, LABEL, END, GAP, EDGES = 1, 2, 3, 4, 5, 6
AER64, EVT2, EVT3 = 0, 1, 2
DETECTIONS, THINNED_EVENTS, FIELD, EVIDENCE, WATERMARK, TRIGGERS, MOTION, MOVERS = range(16, 24)
STREAM = 64
"""In files alone: what the frames behind it are of, as JSON."""
AER64_BYTES = 8


class BadFrame(ValueError):
    """Bytes that are no frame; the message never echoes them."""


@dataclass(frozen=True)
class Frame:
    """One binary message."""

    type: int
    code: int
    number: int
    t_us: int
    count: int
    payload: memoryview


def parse(data: bytes) -> Frame:
    """The frame in one binary message.

    Raises:
        BadFrame: magic, version, length or checksum are wrong.
    """
    frame = head(data)
    check_sum(data)
    return frame


def head(data: bytes) -> Frame:
    """The frame in one binary message, by its header: whether it came through whole is left to :func:`check_sum`.

    Raises:
        BadFrame: magic, version or length are wrong.
    """
    if len(data) < HEADER_BYTES:
        raise BadFrame(f"a frame has at least {HEADER_BYTES} bytes, not {len(data)}")
    magic, version, type_, code, number, t_us, count, _ = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadFrame("wrong magic: a frame starts with PCHY")
    if version != VERSION:
        raise BadFrame(f"version {version}: allowed is {VERSION}")
    payload = memoryview(data)[HEADER_BYTES:]
    expected = payload_bytes(data)
    if (type_ < DETECTIONS or type_ == STREAM) and len(payload) != expected:
        raise BadFrame(f"length: count {count} means {expected} bytes of payload, not {len(payload)}")
    return Frame(type_, code, number, t_us, count, payload)


def check_sum(data: bytes) -> None:
    """Whether a frame came through whole.

    Raises:
        BadFrame: its checksum is another.
    """
    view = memoryview(data)
    if crc32(view[HEADER_BYTES:], crc32(view[:28])) != int.from_bytes(view[28:32], "little"):
        raise BadFrame("wrong checksum")


def payload_bytes(head: bytes) -> int:
    """How many bytes follow a header of an ingest frame."""
    _, _, type_, code, _, _, count, _ = HEADER.unpack_from(head)
    return count * AER64_BYTES if type_ == EDGES or (type_, code) == (EVENTS, AER64) else count


def build(type_: int, code: int, number: int, t_us: int, count: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    head = HEADER.pack(MAGIC, VERSION, type_, code, number, t_us, count, 0)[:28]
    checksum = crc32(payload, crc32(head))
    return b"".join((head, checksum.to_bytes(4, "little"), payload))
