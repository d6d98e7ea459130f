import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rows import RowDigest, pack, unpack
from pipeline.sinks.statistics import Timeline
from pipeline.stage import Port

PORT = Port("detections", 64, 64)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60), st.integers(2, 20), st.randoms())
def test_a_timeline_does_not_depend_on_order_or_portions(times, bins, random):
    t = np.array(times, np.int64)
    whole = Timeline(bins, (2,))
    whole.add(t, (t % 2,))
    shuffled = times.copy()
    random.shuffle(shuffled)
    parts = Timeline(bins, (2,))
    for value in shuffled:
        one = np.array([value])
        parts.add(one, (one % 2,))
    assert (whole.width_us, whole.start_us) == (parts.width_us, parts.start_us)
    np.testing.assert_array_equal(whole.sums, parts.sums)
    expected = {}
    for value in times:
        key = value // whole.width_us, value % 2
        expected[key] = expected.get(key, 0) + 1
    first = whole.start_us // whole.width_us
    found = {(int(k) + first, int(c)): n for (k, c), n in np.ndenumerate(whole.sums) if n}
    assert found == expected
    assert len(whole.sums) <= bins


@st.composite
def detections(draw):
    n = draw(st.integers(0, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return {
        "t": np.sort(rng.integers(0, 5, n)) * 1000, "x": rng.integers(0, 4, n).astype(np.uint16),
        "y": rng.integers(0, 4, n).astype(np.uint16), "label": rng.integers(0, 3, n).astype(np.uint16),
        "flags": np.zeros(n, np.uint16), "score": np.zeros(n, np.float32),
    }  # fmt: skip


@given(detections(), st.randoms(), st.data())
def test_a_digest_is_that_of_the_canonical_order_however_rows_are_grouped(columns, random, data):
    """Rows of one time may come in any order and in any portions."""
    rows = pack(columns, PORT)
    whole = RowDigest(PORT)
    whole.add(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = rows[np.array(sorted(order, key=lambda i: columns["t"][i]), np.int64)]
    parts = RowDigest(PORT)
    at = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    for a, b in zip([0, *at], [*at, len(rows)], strict=True):
        parts.add(shuffled[a:b])
        parts.hexdigest()  # may be asked for at any time
    assert parts.hexdigest() == whole.hexdigest()
    for name, column in unpack(rows, PORT).items():
        np.testing.assert_array_equal(column, columns[name])
