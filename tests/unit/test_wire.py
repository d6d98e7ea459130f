"""Both codecs, the service's and the client's, against frames written by hand."""

import numpy as np
import polychrony_client.wire as client
import pytest

from pipeline import wire
from tests.unit import golden


def test_the_golden_frame_is_what_both_build():
    start, payload = client.pack_events(
        np.array([1000, 1010]), np.array([5, 65535]), np.array([7, 0]), np.array([True, False])
    )
    assert start == 1000
    assert client.build(client.EVENTS, client.AER64, 3, start, 2, payload) == golden.EVENTS
    assert wire.build(wire.EVENTS, wire.AER64, 3, 1000, 2, payload) == golden.EVENTS
    assert (
        wire.build(wire.END, 0, 9, 2**53 - 1, 0) == client.build(client.END, 0, 9, 2**53 - 1, 0) == golden.END
    )


@pytest.mark.parametrize("codec", [wire, client])
def test_the_golden_frame_is_what_both_read(codec):
    frame = codec.parse(golden.EVENTS)
    assert (frame.type, frame.code, frame.number, frame.t_us, frame.count) == (1, 0, 3, 1000, 2)
    assert bytes(frame.payload) == bytes.fromhex(golden.PAYLOAD)


def flipped(at):
    data = bytearray(golden.EVENTS)
    data[at] ^= 1
    return bytes(data)


@pytest.mark.parametrize("codec", [wire, client])
@pytest.mark.parametrize("at", range(len(golden.EVENTS)))
def test_no_flipped_bit_goes_unnoticed(codec, at):
    with pytest.raises(ValueError, match=r"magic|version|checksum|length|frame"):
        codec.parse(flipped(at))


@pytest.mark.parametrize("size", [0, 1, 31])
def test_short_messages_are_no_frames(size):
    with pytest.raises(wire.BadFrame, match="at least 32 bytes"):
        wire.parse(golden.EVENTS[:size])


def test_the_length_must_be_what_count_says():
    with pytest.raises(wire.BadFrame, match="count 2 means 16 bytes of payload, not 15"):
        wire.parse(golden.EVENTS[:-1])
