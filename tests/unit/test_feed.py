import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import Result
from pipeline.rows import layout
from pipeline.stage import Port
from service.streams.feed import Feed, Lagged

PORT = Port("detections", 64, 64)


def rows(first, n):
    made = np.zeros(n, layout(PORT))
    made["t"] = np.arange(first, first + n)
    return made


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 30))
def test_a_ring_gives_back_what_it_still_keeps_and_says_what_is_gone(tmp_path_factory, sizes, capacity):
    feed = Feed(0, "motion", PORT, tmp_path_factory.mktemp("feed") / "rows", capacity * 24)
    n = 0
    for size in sizes:
        feed.publish(Result("motion", n, rows(n, size), n))
        n += size
        assert feed.head.next_row == n
        assert feed.oldest == max(0, n - capacity)
        np.testing.assert_array_equal(feed.read(feed.oldest, 10**6)["t"], np.arange(feed.oldest, n))
        if feed.oldest:
            with pytest.raises(Lagged) as caught:
                feed.read(feed.oldest - 1, 1)
            assert caught.value.oldest == feed.oldest
    feed.close()
