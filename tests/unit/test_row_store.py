import json
import os
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import Result
from pipeline.packets import Gap
from pipeline.rows import layout
from pipeline.stage import Port
from service.storage.files.row_file import RingFile
from service.streams.row_store import Lagged, RowStore

PORT = Port("detections", 64, 64)


def store(path, capacity, known=None):
    return RowStore(0, "motion", PORT, partial(RingFile, path), capacity * 24, known)


def publish(feed, result):
    """Rows of a frame that is durable."""
    feed.write(result, 1)
    feed.release(1)


def rows(first, n):
    made = np.zeros(n, layout(PORT))
    made["t"] = np.arange(first, first + n)
    return made


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 30))
def test_a_ring_gives_back_what_it_still_keeps_and_says_what_is_gone(tmp_path_factory, sizes, capacity):
    feed = store(tmp_path_factory.mktemp("feed") / "rows", capacity)
    n = 0
    for size in sizes:
        publish(feed, Result("motion", n, rows(n, size), n))
        n += size
        assert feed.head.next_row == n
        assert feed.oldest == max(0, n - capacity)
        np.testing.assert_array_equal(feed.read(feed.oldest, 10**6)["t"], np.arange(feed.oldest, n))
        if feed.oldest:
            with pytest.raises(Lagged) as caught:
                feed.read(feed.oldest - 1, 1)
            assert caught.value.oldest == feed.oldest
    feed.close()


def checked(feed, first, n):
    """Every row from ``first`` on that the feed still has is the one that was written."""
    if feed.oldest < n:
        np.testing.assert_array_equal(feed.read(feed.oldest, 10**6)["t"], np.arange(feed.oldest, n))
    if first < feed.oldest:
        with pytest.raises(Lagged):
            feed.read(first, 1)


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 700),
    st.sampled_from(["nothing", "cut", "zeros", "old"]), st.integers(0, 2**32), st.lists(st.integers(0, 300), max_size=4),
)  # fmt: skip
def test_rows_that_the_disk_has_not_got_are_gone_and_never_zeros(
    tmp_path_factory, sizes, capacity, damage, seed, later
):
    """A power cut: of what was written behind the last sync, any part may be missing."""
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("feed") / "rows"
    feed, n, generations = store(path, capacity), 0, []
    for size in sizes:
        generations.append(path.read_bytes())
        publish(feed, Result("motion", n, rows(n, size), n))
        n += size
    known, oldest = json.loads(json.dumps(feed.snapshot())), feed.oldest
    feed.close()
    data = bytearray(path.read_bytes())
    a, b = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    if damage == "cut":
        os.truncate(path, a)
    elif damage == "zeros":
        path.write_bytes(data[:a] + bytes(b - a) + data[b:])
    elif damage == "old":
        before = generations[rng.integers(len(generations))].ljust(len(data), b"\0")
        path.write_bytes(data[:a] + before[a:b] + data[b:])
    feed = store(path, capacity, known)
    checked(feed, oldest, n)
    if feed.count_lost():
        assert damage != "nothing"
        assert feed.oldest >= oldest + feed.lost_rows
    if damage == "nothing":
        assert feed.oldest - oldest < max(1, -(-capacity // 64))
    for size in later:
        publish(feed, Result("motion", n, rows(n, size), n))
        n += size
        checked(feed, oldest, n)
    known = feed.snapshot()
    feed.close()
    feed = store(path, capacity, known)
    checked(feed, oldest, n)
    assert feed.count_lost() == 0
    feed.close()


def test_gaps_are_known_after_a_restart(tmp_path):
    path = tmp_path / "rows"
    feed = store(path, 1000)
    publish(feed, Result("motion", 0, rows(0, 10), 10))
    publish(feed, Result("motion", 10, rows(10, 5), 15, (Gap(20, 30),)))
    known, gaps = json.loads(json.dumps(feed.snapshot())), list(feed.gaps)
    feed.close()
    feed = store(path, 1000, known)
    assert (list(feed.gaps), feed.gaps_so_far) == (gaps, 1)
    assert [(gap.row, gap.from_us, gap.to_us) for gap in gaps] == [(10, 20, 30)]
    publish(feed, Result("motion", 15, rows(15, 5), 20, (Gap(40, 50),)))
    assert [gap.number for gap in feed.gaps] == [0, 1]
    feed.close()


def test_a_stream_from_elsewhere_keeps_its_own_rows_over_a_restart(tmp_path):
    """The sums of the stream that it goes on from are of another file."""
    first = store(tmp_path / "first", 1000)
    publish(first, Result("motion", 0, rows(0, 10), 10))
    known = first.snapshot()
    first.close()
    feed = store(tmp_path / "second", 1000, known)
    assert feed.oldest == 10
    publish(feed, Result("motion", 10, rows(10, 4), 14))
    known = feed.snapshot()
    feed.close()
    feed = store(tmp_path / "second", 1000, known)
    assert (feed.oldest, feed.count_lost()) == (10, 0)
    np.testing.assert_array_equal(feed.read(10, 9)["t"], np.arange(10, 14))
    feed.close()


def test_rows_whose_file_was_removed_are_counted(tmp_path):
    path = tmp_path / "rows"
    feed = store(path, 1000)
    publish(feed, Result("motion", 0, rows(0, 10), 10))
    known = feed.snapshot()
    feed.close()
    path.unlink()
    feed = store(path, 1000, known)
    assert (feed.oldest, feed.count_lost()) == (10, 10)
    feed.close()


def test_rows_are_shown_once_their_frames_are_durable(tmp_path):
    feed = store(tmp_path / "rows", 1000)
    for frame, first in ((1, 0), (2, 10), (3, 20)):
        feed.write(Result("motion", first, rows(first, 10), first + 10, (Gap(first, first + 1),)), frame)
    assert (feed.head.next_row, feed.computed.next_row, len(feed.gaps)) == (0, 30, 0)
    assert len(feed.read(0, 100)) == 0
    feed.release(2)
    assert (feed.head.next_row, feed.gaps_so_far, len(feed.read(0, 100))) == (20, 2, 20)
    feed.release(2)
    assert feed.head.next_row == 20
    known = json.loads(json.dumps(feed.snapshot()))
    assert (known["next_row"], known["gaps_so_far"]) == (30, 3)
    feed.release(3)
    assert (feed.head.next_row, [gap.row for gap in feed.gaps]) == (30, [0, 10, 20])
    feed.close()
