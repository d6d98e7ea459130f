"""Reaction time: how long after an event has arrived the answer that covers it leaves.

An answer of an output covers the events of an interval of sensor time (s0, s1]. For an event with sensor time t that
arrived at wall time a, and the first answer with s0 < t <= s1, which left at wall time w,

    reaction = w - a = wait + hold + queue + compute + outbox

wait: until the interval was over, s1 - t, as far as that lies behind a; hold: until what showed that it was over
had arrived (reordering, packets); queue: that packet's, before it was worked on; compute: until the answer existed;
outbox: until it was handed to a subscriber's socket, 0 where nobody reads. The first and the last event of a batch of
frames stand for all of it, and a batch for those that follow within 2 ms.
An interval that ends without a row is answered by the word that there is none, the watermark; its events count as
``silent``, too.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.engine import Result
from pipeline.stage import Port

PARTS = ("wait", "hold", "queue", "compute", "outbox")
_SHORTEST_S, _LONGEST_S, _RATIO = 1e-4, 100.0, 1.1
EDGES_S = [_SHORTEST_S * _RATIO**i for i in range(math.ceil(math.log(_LONGEST_S / _SHORTEST_S, _RATIO)) + 1)]
"""Upper edges of the buckets, each a tenth above the one before."""
_RECENT_S = 10.0
_APART_S = 2e-3
_MOST_OPEN = 10_000
"""Events that wait for their answer, or answers for a socket; beyond it the oldest are given up."""


class Histogram:
    """Durations, in buckets that are a tenth wide: since the start, and lately."""

    def __init__(self) -> None:
        self.counts = [0] * (len(EDGES_S) + 1)
        self.sum_s = 0.0
        self._turned_s = time.monotonic()
        self._before, self._one_before = self.counts.copy(), self.counts.copy()

    def add(self, seconds: float) -> None:
        """Count one."""
        self._turn(time.monotonic())
        self.counts[bisect_left(EDGES_S, seconds)] += 1
        self.sum_s += seconds

    def recent(self) -> list[int]:
        """Those of the last 10 to 20 s."""
        self._turn(time.monotonic())
        return [now - then for now, then in zip(self.counts, self._one_before, strict=True)]

    def _turn(self, now: float) -> None:
        passed_s = now - self._turned_s
        if passed_s <= _RECENT_S:
            return
        # Whatever was counted before is old where nothing came for so long.
        self._one_before = self.counts.copy() if passed_s > 2 * _RECENT_S else self._before
        self._before, self._turned_s = self.counts.copy(), now


def quantile(counts: list[int], share: float) -> float | None:
    """A quantile of a histogram, s, within a twentieth of the true one; None where nothing was counted."""
    wanted, passed = share * sum(counts), 0
    if wanted == 0:
        return None
    for i, n in enumerate(counts[:-1]):
        if passed + n >= wanted:
            low = EDGES_S[i - 1] if i else 0.0
            return low + (EDGES_S[i] - low) * (wanted - passed) / n
        passed += n
    return EDGES_S[-1]


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer that exists and waits for a socket: when it was made, s1 - t, and the four parts so far."""

    made_s: float
    wait_s: float
    parts_s: tuple[float, float, float, float]


def by_rows(port: Port) -> bool:
    """Whether intervals are as long as the rows say: those of decisions, and of what classifiers go by."""
    return port.kind == "decisions" or (port.kind == "evidence" and port.window_us == 0)


class _Made:
    """What the answers to a batch cover.

    Attributes:
        made_s: when the last of them existed.
        watermark_us: they are complete before it.
        ends: times of rows, each once, where rows stand for an interval.
        starts: of decisions, when what they are about began.
    """

    def __init__(self, port: Port) -> None:
        self.made_s, self.watermark_us = 0.0, -1
        self.ends, self.starts = list[int](), list[int]()
        self._by_rows, self._decided, self._windows = (
            by_rows(port),
            port.kind == "decisions",
            port.window_us > 0,
        )

    def add(self, result: Result, made_s: float) -> None:
        """Take in the next answer."""
        self.made_s, self.watermark_us = made_s, result.watermark_us
        if len(result.rows) == 0:
            return
        if self._by_rows:
            self.ends += result.rows["t"].tolist()
            if self._decided:
                self.starts += result.rows["from_us"].tolist()
        elif self._windows:
            self.ends += np.unique(result.rows["t"]).tolist()


class Output:
    """Of one output: ``open``, ``made`` and counts belong to the stream's thread, the rest to the event loop's.

    Attributes:
        port: what its rows are.
        open: events that wait for their answer: (sensor time us, arrival s).
        made: answers of the batch that is being worked on.
        answered: answers that wait for a socket.
        sends: (until when what was sent was made, when it was sent).
        silent: events whose interval ended without a row.
        given_up: events that waited behind too many others.
        reaction: see above.
        rest: the reaction without the wait, which sensor time sets.
        wait: s1 - t, whenever the event arrived.
        parts_s: sums of the parts.
    """

    def __init__(self, port: Port) -> None:
        self.port, self.made = port, _Made(port)
        self.open, self.answered = deque[tuple[int, float]](), deque[_Answered](maxlen=_MOST_OPEN)
        self.sends = deque[tuple[float, float]](maxlen=_MOST_OPEN)
        self.silent = self.given_up = 0
        self.reaction, self.rest, self.wait = Histogram(), Histogram(), Histogram()
        self.parts_s = [0.0] * len(PARTS)


class Reactions:
    """Of one stream.

    Args:
        ports: of its outputs.
    """

    def __init__(self, ports: dict[str, Port]) -> None:
        self.outputs = {name: Output(port) for name, port in ports.items() if port.kind != "triggers"}
        self._readers = Counter[str]()
        self._sampled_s = -math.inf
        self._samples = False

    def begins(self, now_s: float) -> None:
        """A batch is about to be worked on; in the stream's thread. Batches that follow at once are not looked at."""
        self._samples = now_s - self._sampled_s >= _APART_S

    def published(self, result: Result, made_s: float) -> None:
        """An answer of the batch that is being worked on exists since ``made_s``; in the stream's thread."""
        output = self.outputs.get(result.output)
        if output is not None and (self._samples or output.open):
            output.made.add(result, made_s)

    def processed(self, arrived: tuple[tuple[int, float], ...], came_s: float, began_s: float) -> None:
        """A batch is done; in the stream's thread, before anybody hears of its answers.

        Args:
            arrived: (sensor time us, arrival s) of its first and its last event.
            came_s: when its last frame arrived, on the monotonic clock.
            began_s: when the work on it began.
        """
        if self._samples and arrived:  # a heartbeat takes nobody's turn
            self._sampled_s = began_s
        for output in self.outputs.values():
            if self._samples:
                output.open.extend(arrived)
            elif not output.open:
                continue
            while len(output.open) > _MOST_OPEN:
                output.open.popleft()
                output.given_up += 1
            _close(output, came_s, began_s)
            output.made = _Made(output.port)

    def forget(self) -> None:
        """What was published is a replay: nobody waited for it."""
        for output in self.outputs.values():
            output.made = _Made(output.port)

    def reads(self, names: Iterable[str], by: int) -> None:
        """So many readers more of these outputs; in the event loop's thread."""
        for name in names:
            self._readers[name] += by

    def sent(self, name: str, made_s: float) -> None:
        """What existed at ``made_s`` was handed to a socket; in the event loop's thread."""
        output = self.outputs.get(name)
        if output is not None:
            if not output.sends or output.sends[-1][0] < made_s:
                output.sends.append((made_s, time.monotonic()))
            _leave(output)

    def announced(self) -> None:
        """Something was published; answers that nobody reads leave as they are made; in the event loop's thread."""
        for name, output in self.outputs.items():
            if output.answered:
                if not self._readers[name]:
                    output.sends.append((output.answered[-1].made_s, -math.inf))
                _leave(output)

    def describe(self) -> dict[str, Any]:
        """Per output: quantiles of the last 10 to 20 s; counts, and means of the parts, since the start."""
        return {name: _describe(output) for name, output in self.outputs.items()}


def _leave(output: Output) -> None:
    """Count the answers that a socket has; a send may be heard of before what it sent."""
    waiting, sends = output.answered, output.sends
    while waiting:
        one = waiting[0]
        while sends and sends[0][0] < one.made_s:
            sends.popleft()
        if not sends:
            return
        waiting.popleft()
        parts = (*one.parts_s, max(0.0, sends[0][1] - one.made_s))
        whole = sum(parts)
        output.reaction.add(whole)
        output.wait.add(one.wait_s)
        output.rest.add(whole - parts[0])
        output.parts_s = [a + b for a, b in zip(output.parts_s, parts, strict=True)]


def _describe(output: Output) -> dict[str, Any]:
    n = sum(output.reaction.counts)
    recent, rest = output.reaction.recent(), output.rest.recent()
    slow = quantile(rest, 0.99)
    return {
        "events": n, "silent": output.silent, "given_up": output.given_up,
        "horizon_us": output.port.window_us,
        **{f"p{round(100 * share)}_us": _us(quantile(recent, share)) for share in (0.5, 0.9, 0.99)},
        "bound_us": None if slow is None else output.port.window_us + round(slow * 1e6),
        "parts_us": {
            name: round(1e6 * spent / max(1, n)) for name, spent in zip(PARTS, output.parts_s, strict=True)
        },
    }  # fmt: skip


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def _close(output: Output, came_s: float, began_s: float) -> None:
    """Take out the events that these answers cover."""
    while output.open:
        t_us, at_s = output.open[0]
        covered = _covered(output.made, t_us, output.port)
        if covered is None:
            return
        output.open.popleft()
        end_us, has_row = covered
        output.silent += not has_row
        passed_s, whole_s = max(0.0, came_s - at_s), (end_us - t_us) * 1e-6
        wait_s, made_s = min(passed_s, whole_s), output.made.made_s
        parts = (wait_s, passed_s - wait_s, max(0.0, began_s - came_s), max(0.0, made_s - began_s))
        output.answered.append(_Answered(made_s, whole_s, parts))


def _covered(made: _Made, t_us: int, port: Port) -> tuple[int, bool] | None:
    """The end of the interval that an event lies in, and whether it has a row; None while it is open."""
    if by_rows(port):
        i = bisect_left(made.ends, t_us)
        return None if i == len(made.ends) else (made.ends[i], not made.starts or made.starts[i] < t_us)
    end_us = (t_us // port.window_us + 1) * port.window_us if port.window_us else t_us
    if made.watermark_us <= end_us:
        return None
    if not port.window_us:
        return end_us, True
    i = bisect_left(made.ends, end_us)
    return end_us, i < len(made.ends) and made.ends[i] == end_us
