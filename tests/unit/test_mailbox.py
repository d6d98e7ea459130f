"""What a stream's thread is given, tried from one thread where that shows it, and from two where it does not."""

import threading

import pytest

from service.streams.admission import BAD_FRAME, Refused
from service.streams.mailbox import Mailbox

REFUSAL = Refused(BAD_FRAME, "bad_frame", "why")


def test_frames_and_requests_come_in_order_and_together():
    box = Mailbox()
    for one in "abc":
        box.put(one)
    asked = box.ask(lambda: 7)
    assert box.waiting == 3
    frames, requests = box.take()
    assert (frames, box.waiting) == (["a", "b", "c"], 0)
    for request in requests:
        request.answer()
    assert asked.result(1) == 7


def test_a_request_that_fails_or_that_nobody_waits_for_stops_nothing():
    box = Mailbox()
    failing, given_up = box.ask(lambda: 1 / 0), box.ask(lambda: 8)
    given_up.cancel()
    for request in box.take()[1]:
        request.answer()
    with pytest.raises(ZeroDivisionError):
        failing.result(1)


def test_a_refusal_is_told_when_what_came_before_is_worked_off_and_forgets_what_came_behind():
    box = Mailbox()
    box.put("good")
    box.take()
    box.refuse(REFUSAL)
    box.put("behind")
    assert box.refused
    assert box.take_refusal() is None, "frames before the bad one are still being worked on"
    box.done()
    assert box.take_refusal() is REFUSAL
    assert (box.take_refusal(), box.refused, box.waiting) == (None, False, 0)


def test_the_end_wakes_whoever_waits_and_refuses_what_is_asked():
    box = Mailbox()
    box.hold_while_not(lambda: False)
    found = []
    waits = [
        threading.Thread(target=lambda: found.append(box.take())),
        threading.Thread(target=lambda: found.append(box.wait_until_it_may())),
        threading.Thread(target=lambda: found.append(box.pause(600))),
    ]
    for one in waits:
        one.start()
    before = box.ask
    box.stop()
    for one in waits:
        box.poke()
        one.join(30)
        assert not one.is_alive()
    assert sorted(map(str, found)) == ["False", "False", "None"]
    with pytest.raises(RuntimeError, match="closed"):
        before(lambda: 1).result(1)


def test_what_was_asked_and_never_answered_is_refused_at_the_end():
    box = Mailbox()
    asked = box.ask(lambda: 1)
    box.close()
    with pytest.raises(RuntimeError, match="closed"):
        asked.result(1)
    with pytest.raises(RuntimeError, match="closed"):
        box.ask(lambda: 1).result(1)


def test_a_thread_goes_on_as_soon_as_it_may():
    box, may = Mailbox(), threading.Event()
    box.hold_while_not(may.is_set)
    goes_on = []
    thread = threading.Thread(target=lambda: goes_on.append(box.wait_until_it_may()))
    thread.start()
    may.set()
    box.poke()
    thread.join(30)
    assert goes_on == [True]
    assert box.pause(0.0)
