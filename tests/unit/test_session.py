"""The input side of a stream, without a socket, a thread or a file."""

import pytest

from pipeline import wire
from service.streams.admission import BAD_FRAME, FAULT, NO_STREAM, SEQUENCE_GAP, SUPERSEDED, Gate, Refused
from service.streams.lifecycle import OVER, State, state_of
from service.streams.progress import Progress
from service.streams.session import Close, Say, Session

WINDOW = 1000


class Input:
    """A session, and the stream's thread as a few statements."""

    def __init__(self, logged=True):
        self.progress = Progress()
        self.session = Session(Gate(500, WINDOW), self.progress, WINDOW, logged, lambda: {"type": "end"})

    def received(self, number, size, durable=None):
        self.progress.received, self.progress.received_bytes = number, size
        self.progress.durable = number if durable is None else durable


def frame(n, size=10):
    return wire.build(wire.EVENTS, wire.EVT3, n, 0, size, b"x" * size)


SIZE = len(frame(1))


def said(words):
    return [one.document["type"] if isinstance(one, Say) else one.code for one in words]


def test_a_sender_is_greeted_acknowledged_and_told_the_end():
    stream = Input()
    sender = stream.session.take_over()
    (ready,) = sender.outgoing()
    assert ready.document == {
        "type": "ready", "resume_from": 1, "limit": WINDOW, "max_frame": 500, "sent": 0
    }  # fmt: skip
    assert sender.outgoing() == []
    admitted = sender.offer(frame(1))
    assert (admitted.frame.number, sender.more_expected) == (1, True)
    stream.received(1, SIZE, durable=0)
    assert [one.document for one in sender.outgoing()] == [
        {"type": "ack", "received": 1, "durable": 0, "limit": SIZE + WINDOW}
    ]
    assert sender.outgoing() == []
    stream.progress.durable = 1
    assert said(sender.outgoing()) == ["ack"]
    assert not sender.more_expected
    assert sender.offer(wire.build(wire.END, 0, 2, 0, 0)).frame.type == wire.END
    stream.received(2, SIZE + wire.HEADER_BYTES)
    stream.progress.finished = True
    assert said(sender.outgoing()) == ["ack", "end", 1000]


def test_what_came_before_is_acknowledged_once_more_and_not_taken():
    stream = Input()
    sender = stream.session.take_over()
    sender.offer(frame(1))
    stream.received(1, SIZE)
    sender.outgoing()
    assert sender.offer(frame(1)) is None
    assert said(sender.outgoing()) == ["ack"]
    assert (stream.session.duplicates, stream.session.accepted) == (1, 1)


def test_a_newer_sender_takes_over_and_the_older_may_say_nothing():
    stream = Input()
    first = stream.session.take_over()
    first.offer(frame(1))
    first.outgoing()
    second = stream.session.take_over()
    assert first.outgoing() == [Close(SUPERSEDED, ("superseded", "a newer connection took over"))]
    with pytest.raises(Refused) as caught:
        first.offer(frame(2))
    assert (caught.value.close, stream.session.accepted) == (SUPERSEDED, 1)
    first.leave()
    assert stream.session.has_sender
    assert second.outgoing()[0].document["resume_from"] == 2
    second.leave()
    assert not stream.session.has_sender


def test_a_bad_frame_is_forgotten_with_what_came_behind_it_and_its_sender_told():
    stream = Input()
    sender = stream.session.take_over()
    sender.outgoing()
    for n in range(1, 5):
        sender.offer(frame(n))
    sender.offer(wire.build(wire.END, 0, 5, 0, 0))
    stream.received(2, 2 * SIZE)
    stream.session.refuse(Refused(BAD_FRAME, "bad_frame", "why"), wire.EVT3)
    assert sender.outgoing() == [Close(BAD_FRAME, ("bad_frame", "why"))]
    assert (stream.session.accepted, stream.session.ended) == (2, False)
    again = stream.session.take_over()
    assert again.outgoing()[0].document["resume_from"] == 3
    assert again.offer(frame(3)).frame.number == 3
    with pytest.raises(Refused) as caught:
        again.offer(frame(9))
    assert caught.value.close == SEQUENCE_GAP


def test_a_sender_is_told_why_it_is_over():
    for change, code in (
        (lambda one: setattr(one.session, "deleted", True), NO_STREAM),
        (lambda one: one.progress.fail("late_event", "x"), BAD_FRAME),
        (lambda one: one.progress.fail("storage", "x"), FAULT),
    ):
        stream = Input()
        sender = stream.session.take_over()
        change(stream)
        assert said(sender.outgoing()) == ["ready", code]
        assert said(sender.outgoing()) == [code]
        with pytest.raises(Refused):
            sender.offer(frame(1))


def test_an_end_by_the_service_takes_no_number_of_the_senders():
    stream = Input()
    sender = stream.session.take_over()
    sender.offer(frame(1))
    ended = stream.session.end()
    assert (ended.frame.type, ended.frame.number) == (wire.END, 1)
    assert stream.session.end() is None
    with pytest.raises(Refused, match="has ended"):
        sender.offer(frame(2))
    assert stream.session.ready()["ended"]


def test_what_is_durable_is_what_was_received_where_nothing_is_logged():
    stream = Input(logged=False)
    sender = stream.session.take_over()
    sender.offer(frame(1))
    stream.received(1, SIZE, durable=0)
    assert sender.outgoing()[-1].document["durable"] == 1


def test_a_sender_has_room_for_what_the_window_allows():
    stream = Input()
    sender = stream.session.take_over()
    n = 0
    while sender.room >= SIZE:
        n += 1
        sender.offer(frame(n))
    with pytest.raises(Refused, match="beyond the limit"):
        sender.offer(frame(n + 1))
    stream.received(1, SIZE)
    assert sender.room >= SIZE
    sender.offer(frame(n + 1))


def test_a_stream_is_idle_from_when_its_last_sender_left():
    session = Input().session
    session.restored()
    since = session._left_s
    assert session.idle_s(since + 5) == 5
    sender = session.take_over()
    assert session.idle_s(since + 5) == 0
    sender.leave()
    assert session.idle_s(session._left_s + 7) == 7


def test_a_stream_only_moves_forward():
    order = list(State)
    facts = [
        (opened, ended, finished, failed)
        for opened in (False, True)
        for ended in (False, True)
        for finished in (False, True)
        for failed in (False, True)
        if not (finished and not ended)
    ]
    for before in facts:
        for after in facts:
            if all(b <= a for b, a in zip(before, after, strict=True)):
                was, now = state_of(*before), state_of(*after)
                assert order.index(was) <= order.index(now) or now is State.FAILED
    assert {State.ENDED, State.FAILED} == OVER
    progress = Progress()
    progress.fail("a", "first")
    progress.fail("b", "second")
    assert progress.failure == ("a", "first")
    progress = Progress(finished=True)
    progress.fail("a", "late")
    assert progress.failure is None
