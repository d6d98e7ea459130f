import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.coding import decode, encode
from kernels.coding.decode import Decoder
from kernels.coding.encode import Encoder
from tests.property.strategies import cuts

steps = st.one_of(st.integers(0, 5), st.integers(0, 5000), st.integers(0, 2**26), st.integers(2**26, 2**33))


@st.composite
def recordings(draw):
    """Events and triggers in order of time, some of it long after the rest."""
    n = draw(st.integers(0, 30))
    t = np.cumsum([draw(steps) for _ in range(n)], dtype=np.int64)
    pick = [draw(st.booleans()) for _ in range(n)]
    x, y = ([draw(st.integers(0, 2047)) for _ in range(n)] for _ in range(2))
    p = [draw(st.booleans()) for _ in range(n)]
    rows = list(zip(t.tolist(), x, y, p, pick, strict=True))
    events = [row[:4] for row in rows if row[4]]
    marks = [(row[0], row[1] % 16, int(row[3])) for row in rows if not row[4]]
    return events, marks


def columns(events):
    t, x, y, p = zip(*events, strict=True) if events else ((), (), (), ())
    return np.array(t, np.int64), np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.bool_)


@given(recordings(), st.sampled_from([2, 4]), st.data())
def test_what_is_encoded_in_any_cuts_is_decoded_again(recording, word_bytes, data):
    events, marks = recording
    end = max([e[0] for e in events] + [m[0] for m in marks], default=0) + 1
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, end), max_size=4))), end]
    encoder, raw = Encoder(word_bytes), b""
    for a, b in itertools.pairwise(edges):
        part = [m for m in marks if a <= m[0] < b]
        raw += encode.encode(
            encoder, columns([e for e in events if a <= e[0] < b]), np.array(part, np.int64).reshape(-1, 3)
        )
    places, decoder = data.draw(cuts(len(raw))), Decoder(word_bytes)
    found, triggers = [], []
    for a, b in itertools.pairwise(places):
        part = decode.decode(decoder, raw[a:b])
        found += [tuple(v.item() for v in row) for row in zip(*part, strict=True)]
        triggers += [tuple(row) for row in decoder.triggers.tolist()]
    assert found == events
    assert triggers == marks


def test_the_bytes_do_not_depend_on_the_cuts():
    t = np.sort(np.random.default_rng(0).integers(0, 2**26, 500))
    rng = np.random.default_rng(1)
    events = (
        t,
        rng.integers(0, 640, 500).astype(np.uint16),
        rng.integers(0, 480, 500).astype(np.uint16),
        t % 2 == 0,
    )
    for word_bytes in (2, 4):
        whole = encode.encode(Encoder(word_bytes), events)
        encoder = Encoder(word_bytes)
        parts = [encode.encode(encoder, tuple(c[k : k + 7] for c in events)) for k in range(0, 500, 7)]
        assert b"".join(parts) == whole


def test_what_does_not_fit_is_refused():
    one = np.ones(1, np.uint16)
    with pytest.raises(ValueError, match="below 2048"):
        encode.encode(Encoder(2), (np.ones(1, np.int64), one * 2048, one, one > 0))
    with pytest.raises(ValueError, match="would wrap"):
        encode.encode(Encoder(2), (np.full(1, 2**50), one, one, one > 0))
