"""Who feeds a stream, what is let in, and what the sender is told. No I/O: bytes and progress in, words out.

A WebSocket, a source that the service fetches, and a client that pushes pictures all use it in the same way::

    sender = session.take_over()           # whoever fed the stream before is told that it is superseded
    admitted = sender.offer(data)          # what the stream's thread shall get; raises Refused
    for word in sender.outgoing(): ...     # what is to be sent now: ready, ack, end, close
    sender.leave()
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import wire
from service.streams.admission import (
    BAD_FRAME,
    FAULT,
    NO_STREAM,
    SUPERSEDED,
    Admitted,
    Gate,
    Refused,
)
from service.streams.progress import Progress


@dataclass(frozen=True)
class Say:
    """A message for the sender."""

    document: dict[str, Any]


@dataclass(frozen=True)
class Close:
    """The connection ends, for a reason where one is given."""

    code: int
    error: tuple[str, str] | None = None


Word = Say | Close


class Session:
    """The input side of one stream; belongs to the event loop's thread.

    Args:
        gate: what decides on frames; owned by the session from here on.
        progress: of the stream's thread.
        window_bytes: so many bytes may be on their way.
        logged: whether frames become durable, as those of a lossless stream do.
        final: what ``end`` says, once everything is worked off.
    """

    def __init__(
        self, gate: Gate, progress: Progress, window_bytes: int, logged: bool,
        final: Callable[[], dict[str, Any]],
    ) -> None:  # fmt: skip
        self._gate, self._progress, self._window, self._logged = gate, progress, window_bytes, logged
        self._final = final
        self._sender: Sender | None = None
        self._was_opened = False
        self._left_s = time.monotonic()
        self.deleted = False

    @property
    def accepted(self) -> int:
        """Number of the last frame that was let in."""
        return self._gate.accepted

    @property
    def ended(self) -> bool:
        """Whether an ``end`` was let in."""
        return self._gate.ended

    @property
    def opened(self) -> bool:
        """Whether anyone ever sent to it, or a frame came in."""
        return self._was_opened or self._gate.accepted > 0

    @property
    def has_sender(self) -> bool:
        """Whether somebody feeds it."""
        return self._sender is not None

    @property
    def duplicates(self) -> int:
        """Frames that came once more."""
        return self._gate.duplicates

    @property
    def limit(self) -> int:
        """The position up to which the sender may send; it only grows."""
        return self._gate.extend(self._progress.received_bytes + self._window)

    def idle_s(self, now_s: float) -> float:
        """For how long nobody has fed it."""
        return 0.0 if self._sender is not None else max(0.0, now_s - self._left_s)

    def resume(self, number: int, size: int, encoding: int | None) -> None:
        """Go on behind what a snapshot holds; before anything is let in."""
        self._gate.resume(number, size, encoding)

    def replayed(self, frame: wire.Frame, size: int) -> None:
        """A frame of the log was let in before a restart; from the stream's thread, before anyone may send."""
        self._gate.take(frame, size)

    def restored(self) -> None:
        """The log is replayed: idleness counts from here."""
        self._left_s = time.monotonic()

    def delete(self) -> None:
        """The stream is being removed: nobody feeds it any more."""
        self.deleted = True

    def take_over(self) -> Sender:
        """A new sender; the one before is superseded."""
        self._was_opened = True
        self._sender = Sender(self, self._gate, self._progress)
        return self._sender

    def leave(self, sender: Sender) -> None:
        """A sender has gone; nothing happens where another took over."""
        if self._sender is sender:
            self._sender, self._left_s = None, time.monotonic()

    def refuse(self, refusal: Refused, encoding: int | None) -> None:
        """The stream's thread met a bad frame: the sender is told, and what it sent since is forgotten.

        Whoever sends next begins again behind the last good frame.
        """
        progress = self._progress
        self._gate.roll_back(progress.received, progress.received_bytes, encoding)
        if self._sender is not None:
            self._sender.refusal = refusal

    def end(self) -> Admitted | None:
        """End the stream as if ``end`` had come; None where it has.

        The frame has no number of the sender's: one that it has still to send must not pass for this one.
        """
        if self._gate.ended:
            return None
        raw = wire.build(wire.END, 0, self._gate.accepted, 0, 0)
        frame = wire.parse(raw)
        self._gate.take(frame, 0)
        return Admitted(frame, raw, time.monotonic())

    def closing(self, sender: Sender) -> Close | None:
        """Why a sender may not go on; None where it may."""
        if self.deleted:
            return Close(NO_STREAM, ("no_stream", "the stream was deleted"))
        if self._sender is not sender:
            return Close(SUPERSEDED, ("superseded", "a newer connection took over"))
        if sender.refusal is not None:
            refusal = sender.refusal
            return Close(refusal.close, (refusal.code, str(refusal)))
        if (failure := self._progress.failure) is not None:
            return Close(BAD_FRAME if failure[0] == "late_event" else FAULT, failure)
        return None

    def ack(self) -> dict[str, Any]:
        """What an ``ack`` says."""
        # In this order: the thread counts the other way round, and what is durable was received.
        durable, received = self._progress.durable, self._progress.received
        # A realtime frame that was received is as safe as it will ever be: nobody need keep it.
        durable = min(durable, received) if self._logged else received
        return {"type": "ack", "received": received, "durable": durable, "limit": self.limit}

    def ready(self) -> dict[str, Any]:
        """What a sender is told first."""
        gate = self._gate
        document = {
            "type": "ready", "resume_from": gate.accepted + 1, "limit": self.limit,
            "max_frame": gate.max_frame_bytes, "sent": gate.accepted_bytes,
        }  # fmt: skip
        return {**document, "ended": True} if gate.ended else document

    def end_words(self) -> list[Word]:
        """What a sender is told last."""
        return [Say(self.ack()), Say(self._final()), Close(1000)]


class Sender:
    """One connection or source that feeds a stream.

    Attributes:
        refusal: why a frame of its was not taken, where one was not.
    """

    def __init__(self, session: Session, gate: Gate, progress: Progress) -> None:
        self._session, self._gate, self._progress = session, gate, progress
        self._told: tuple[int, int, int] | None = None
        self._greeted = self._again = False
        self.refusal: Refused | None = None

    @property
    def room(self) -> int:
        """Bytes that it may send now."""
        return self._session.limit - self._gate.accepted_bytes

    @property
    def more_expected(self) -> bool:
        """Whether frames are on their way to the stream's thread, so that another ack comes soon."""
        return self._gate.accepted > self._progress.received

    def offer(self, data: bytes | None) -> Admitted | None:
        """Let a frame in; None for one that came before, which the next ack tells once more.

        Raises:
            Refused: it may not come in, or this sender may not send any more.
        """
        self.check()
        if data is None:
            raise Refused(BAD_FRAME, "bad_frame", "a frame is a binary message")
        admitted = self._gate.admit(data)
        if admitted is None:
            self._again = True  # its sender may not have heard of it
        return admitted

    def check(self) -> None:
        """Whether it may go on.

        Raises:
            Refused: it may not.
        """
        why = self._session.closing(self)
        if why is not None and why.error is not None:
            raise Refused(why.code, *why.error)

    def outgoing(self) -> list[Word]:
        """What is to be sent now, each word once; behind a ``Close`` comes nothing."""
        words: list[Word] = []
        if not self._greeted:  # also one that may not go on: `ready` is what every sender hears first
            self._greeted = True
            words.append(Say(self._session.ready()))
        if (why := self._session.closing(self)) is not None:
            return [*words, why]
        if self._progress.finished:
            return [*words, *self._session.end_words()]
        ack = self._session.ack()
        now = ack["received"], ack["durable"], ack["limit"]
        if (self._again or now != self._told) and self._gate.accepted:
            self._told, self._again = now, False
            words.append(Say(ack))
        return words

    def leave(self) -> None:
        """It has gone."""
        self._session.leave(self)
