"""What the thread of a stream is given: frames, and work to be done between two of them. Thread-safe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from service.streams.admission import Admitted, Refused


@dataclass(frozen=True)
class Request:
    """Work to be done between two frames, and where its result goes."""

    work: Callable[[], object]
    done: Future[object]

    def answer(self) -> None:
        """Do it, unless whoever asked has gone."""
        if not self.done.set_running_or_notify_cancel():
            return
        try:
            self.done.set_result(self.work())
        except Exception as problem:
            self.done.set_exception(problem)

    def refuse(self, why: str) -> None:
        """It will not be done."""
        if self.done.set_running_or_notify_cancel():
            self.done.set_exception(RuntimeError(why))


class Mailbox:
    """Frames and requests for one thread, its orders to stop and to wait, and the refusal of a bad frame."""

    def __init__(self) -> None:
        self._frames: deque[Admitted] = deque()
        self._requests: deque[Request] = deque()
        self._wake = threading.Condition()
        self._stopping = self._closed = self._working = False
        self._refusal: Refused | None = None
        self._may_continue: Callable[[], bool] = lambda: True

    @property
    def stopping(self) -> bool:
        """Whether the thread was told to end."""
        return self._stopping

    @property
    def waiting(self) -> int:
        """Frames that were put in and not taken yet."""
        return len(self._frames)

    @property
    def refused(self) -> bool:
        """Whether a bad frame was met, and nothing is taken until :meth:`take_refusal`."""
        return self._refusal is not None

    def put(self, admitted: Admitted) -> None:
        """Hand over a frame; never blocks."""
        with self._wake:
            self._frames.append(admitted)
            self._wake.notify()

    def ask(self, work: Callable[[], object]) -> Future[object]:
        """Have the thread do something between two frames."""
        request = Request(work, Future())
        with self._wake:
            # Under the lock: between looking and appending the thread could end, and nobody would answer.
            closed = self._stopping or self._closed
            if not closed:
                self._requests.append(request)
                self._wake.notify()
        # Outside of it: whoever waits for the answer may be called back at once, and ask again.
        if closed:
            request.refuse("the stream is closed")
        return request.done

    def take(self) -> tuple[list[Admitted], list[Request]] | None:
        """Everything that waits, as soon as something does; None when it is time to stop."""
        with self._wake:
            self._working = False
            while not self._stopping and not self._frames and not self._requests:
                self._wake.wait()
            if self._stopping:
                return None
            # Everything, not one by one: plain rows of many frames are decoded by one call of a kernel.
            frames, requests = list(self._frames), list(self._requests)
            self._frames.clear()
            self._requests.clear()
            self._working = bool(frames)
        return frames, requests

    def done(self) -> None:
        """What was taken is worked off."""
        with self._wake:
            self._working = False

    def refuse(self, refusal: Refused) -> None:
        """A frame is bad: nothing behind it is taken until somebody heard of it."""
        self._refusal = refusal

    def take_refusal(self) -> Refused | None:
        """Why a frame was not taken, once what came behind it is forgotten, too; None where all were good.

        The frames before it are worked off when this answers.
        """
        with self._wake:
            # Not while good frames are worked on: the sender is to hear of their rows before it is sent away.
            if self._refusal is None or self._working:
                return None
            refusal, self._refusal = self._refusal, None
            self._frames.clear()
            return refusal

    def hold_while_not(self, may_continue: Callable[[], bool]) -> None:
        """Before each frame the thread waits until ``may_continue``; see :meth:`poke`."""
        with self._wake:
            self._may_continue = may_continue
            self._wake.notify()

    def poke(self) -> None:
        """Something that the thread waits for may have changed."""
        with self._wake:
            self._wake.notify()

    def wait_until_it_may(self) -> bool:
        """Wait for the reader that asked for it; False when it is time to stop."""
        with self._wake:
            while not self._stopping and not self._may_continue():
                self._wake.wait()
            return not self._stopping

    def pause(self, seconds: float) -> bool:
        """Wait; False when it is time to stop."""
        with self._wake:
            return not self._wake.wait_for(lambda: self._stopping, seconds)

    def stop(self) -> None:
        """Tell the thread to end; frames that wait are not taken any more."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def close(self) -> None:
        """The thread has ended: nobody will answer requests any more."""
        with self._wake:
            self._closed = True
            requests = list(self._requests)
            self._requests.clear()
        for request in requests:
            request.refuse("the stream is closed")
