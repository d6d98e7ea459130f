"""Frames of the stream protocol as bytes, written by hand from docs/protocol.md."""

import zlib

HEAD = (
    "50434859"  # PCHY
    "01"  # version
    "01"  # type: events
    "0000"  # code: aer64
    "0300000000000000"  # seq 3
    "e803000000000000"  # t_us 1000
    "02000000"  # 2 rows
)
PAYLOAD = (
    "00000000" "0500" "0780"  # t 1000, x 5, y 7, ON
    "0a000000" "ffff" "0000"  # t 1010, x 65535, y 0, OFF
)  # fmt: skip


def with_checksum(head: str, payload: str) -> bytes:
    body, rest = bytes.fromhex(head), bytes.fromhex(payload)
    return body + zlib.crc32(body + rest).to_bytes(4, "little") + rest


EVENTS = with_checksum(HEAD, PAYLOAD)
END = with_checksum("50434859010400000900000000000000ffffffffffff1f0000000000", "")
EMPTY_CHECKSUM = END[28:32]
