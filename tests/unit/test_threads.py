"""What works side by side: reading ahead, and the helpers of a stage."""

import itertools
import threading
import time

import pytest

from pipeline.prefetch import read_ahead
from pipeline.workers import Workers


def helpers():
    return [one for one in threading.enumerate() if one.name == "read-ahead"]


def test_parts_come_in_order_and_all_of_them():
    with read_ahead(iter(range(1000)), most=3) as parts:
        assert list(parts) == list(range(1000))
    assert not helpers()


def test_no_more_than_asked_is_made_ahead():
    made = []

    def parts():
        for i in range(100):
            made.append(i)
            yield i

    with read_ahead(parts(), most=3) as arriving:
        assert next(arriving) == 0
        time.sleep(0.3)
        assert len(made) <= 6


def test_a_fault_comes_behind_the_parts_before_it():
    def parts():
        yield from range(5)
        raise ValueError("broken")

    with read_ahead(parts()) as arriving:
        assert [next(arriving) for _ in range(5)] == list(range(5))
        with pytest.raises(ValueError, match="broken"):
            next(arriving)
    assert not helpers()


def test_who_leaves_early_leaves_nothing_behind():
    closed = []

    def parts():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    with read_ahead(parts(), most=2) as arriving:
        assert next(arriving) == 0
    assert closed == [True]
    assert not helpers()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_all_parts_are_done(threads):
    done = [0] * 7

    def part(i):
        done[i] += 1

    workers = Workers(threads)
    for _ in range(50):
        workers.run([lambda i=i: part(i) for i in range(7)])
    assert done == [50] * 7


@pytest.mark.parametrize("broken", [0, 2])
def test_a_part_that_fails_is_heard_of_once_none_runs(broken):
    running = []

    def part(i):
        if i == broken:
            raise ValueError(f"part {i}")
        running.append(i)
        time.sleep(0.1)
        running.remove(i)

    with pytest.raises(ValueError, match=f"part {broken}"):
        Workers(3).run([lambda i=i: part(i) for i in range(3)])
    assert not running
