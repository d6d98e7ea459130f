"""The reader of WebSocket frames: the same messages as websockets' own, however bytes were cut, few at a time."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from service.serving.frame_reader import Pieces

_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def masked(payload, opcode=2):
    n = len(payload)
    long = struct.pack(">BH", 254, n) if n < 65_536 else struct.pack(">BQ", 255, n)
    mask = b"\x01\x80\xff\x07"
    covered = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return bytes([128 | opcode]) + (bytes([128 | n]) if n < 126 else long) + mask + covered


def served(reader):
    protocol = ServerProtocol(max_size=2**20)
    protocol.reader = reader
    protocol.parser = protocol.parse()
    next(protocol.parser)
    return protocol


def read(protocol, data):
    """What comes of a feed; the handshake is answered."""
    protocol.receive_data(data)
    told = protocol.events_received()
    for request in told:
        if hasattr(request, "headers"):
            protocol.send_response(protocol.accept(request))
    return [(one.opcode, bytes(one.data)) for one in told if not hasattr(one, "headers")]


def cuts(data, lengths):
    at = 0
    for n in lengths:
        yield data[at : at + n]
        at += n
    yield data[at:]


payloads = st.lists(st.integers(0, 9000) | st.sampled_from([0, 125, 126, 4095, 4096, 65_536]), max_size=6)
lengths = st.lists(st.integers(0, 20_000) | st.sampled_from([0, 1, 2, 4095, 4096, 4097]), max_size=12)


@given(payloads, lengths, st.integers(1, 4), st.integers(0, 9))
def test_the_messages_of_websockets_own_reader_a_few_at_a_time(sizes, lengths, turn, missing):
    frames = b"".join(masked(bytes(i % 251 for i in range(n))) for n in sizes)
    frames = frames[: len(frames) - missing] if missing else frames
    plain, pieces = served(StreamReader()), Pieces()
    protocol, expected, got = served(pieces), [], []
    assert read(plain, _HANDSHAKE) == read(protocol, _HANDSHAKE) == []
    for part in cuts(frames, lengths):
        expected += read(plain, part)
        pieces.turn = turn
        few = read(protocol, part)
        pieces.let_go()
        assert len(few) <= turn + 1  # and one that had begun
        got += few
        while pieces.held:
            pieces.turn = turn
            few = read(protocol, b"")
            assert len(few) <= turn
            got += few
        assert got == expected
    for one in (plain, protocol):
        one.receive_eof()
    assert protocol.close_code == plain.close_code
    assert str(protocol.parser_exc) == str(plain.parser_exc)


def test_a_few_bytes_keep_no_large_piece():
    pieces = Pieces()
    protocol = served(pieces)
    read(protocol, _HANDSHAKE)
    read(protocol, masked(b"a" * 60_000) + masked(b"b" * 60_000)[:100])
    assert sum(len(piece.obj) for piece in pieces._pieces) > 60_000
    pieces.let_go()
    assert sum(len(piece.obj) for piece in pieces._pieces) < 200


def test_bytes_that_come_one_by_one_take_no_more_memory_than_they_are():
    pieces = Pieces()
    protocol = served(pieces)
    read(protocol, _HANDSHAKE)
    message = masked(b"c" * 50_000)
    for at in range(len(message) - 1):
        assert read(protocol, message[at : at + 1]) == []
    assert len(pieces._pieces) <= 2
    assert read(protocol, message[-1:]) == [(2, b"c" * 50_000)]
