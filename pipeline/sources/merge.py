"""Several inputs as one: by time, or one behind the other; in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from pipeline import packets
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading, Source, SourceError
from pipeline.sources.selection import EVERYTHING, Selection, selected

How = Literal["time", "append"]


def merged(sources: Sequence[Source], how: How, selection: Selection = EVERYTHING) -> Iterator[Reading]:
    """All events and triggers of several sources.

    Args:
        sources: freshly opened, of one sensor size.
        how: ``time``: in order of time, equal times in the order of the sources, on the clock that all of them know
            where each states its epoch; ``append``: one behind the other,
            and a source whose clock does not go on behind the one before is moved so that it begins 1 us later.
        selection: of each source.

    Raises:
        SourceError: their sensors differ, or one cannot be read on.
    """
    sensor_of(sources)
    return _by_time(sources, selection) if how == "time" else _appended(sources, selection)


def sensor_of(sources: Sequence[Source]) -> Sensor:
    """The one sensor size of all sources.

    Raises:
        SourceError: their sensors differ.
    """
    first = sources[0]
    for other in sources[1:]:
        if other.info.sensor != first.info.sensor:
            sizes = f"its sensor is {other.info.sensor}, that of {first.name} {first.info.sensor}"
            raise SourceError(f"{other.name}: {sizes}: give --sensor")
    return first.info.sensor


def epoch_of(sources: Sequence[Source]) -> int:
    """The epoch of several sources merged by time, ns since 1970: the earliest, where all state one; else 0."""
    epochs = [source.info.epoch_ns for source in sources]
    return min(epochs) if all(epochs) else 0


class _Head:
    """What was read of one source and not passed on yet, its times moved by ``moved_us``."""

    def __init__(self, readings: Iterator[Reading], moved_us: int) -> None:
        self._readings, self._moved_us = readings, moved_us
        self.events, self.triggers = packets.no_events(), no_triggers()
        self.over = False
        self.done = 0.0
        self.newest = -1

    def advance(self) -> None:
        """Read on."""
        reading = next(self._readings, None)
        if reading is None:
            self.over, self.done = True, 1.0
            return
        t, triggers = reading.events[0] + self._moved_us, reading.triggers + np.array([self._moved_us, 0, 0])
        events = t, *reading.events[1:]
        self.events = packets.join([self.events, events]) if len(self.events[0]) else events
        self.triggers = np.concatenate([self.triggers, triggers])
        self.done = reading.done
        if len(t):
            self.newest = int(t[-1])

    def take(self, before_us: int | None) -> tuple[Events, Triggers]:
        """What is earlier; all of it for None."""
        t, marks = self.events[0], self.triggers[:, 0]
        n = len(t) if before_us is None else int(np.searchsorted(t, before_us))
        ready = np.ones(len(marks), np.bool_) if before_us is None else marks < before_us
        taken = packets.cut(self.events, 0, n), self.triggers[ready]
        self.events, self.triggers = packets.cut(self.events, n, len(t)), self.triggers[~ready]
        return taken


def _by_time(sources: Sequence[Source], selection: Selection) -> Iterator[Reading]:
    epoch_ns = epoch_of(sources)
    heads: list[_Head] = []
    for source in sources:
        moved_us = (source.info.epoch_ns - epoch_ns) // 1000 if epoch_ns else 0
        if moved_us:
            source.info.details["moved_by_us"] = moved_us
        heads.append(_Head(selected(source, selection), moved_us))
    while True:
        running = [head for head in heads if not head.over]
        if not running:
            break
        behind = min(running, key=lambda head: head.newest)
        behind.advance()
        running = [head for head in heads if not head.over]
        # Of equal times more may come, and from an earlier source: only what lies before is complete.
        safe = min((head.newest for head in running), default=None)
        yield _joined([head.take(safe) for head in heads], min(head.done for head in heads))
    yield _joined([head.take(None) for head in heads], 1.0)


def _joined(parts: list[tuple[Events, Triggers]], done: float) -> Reading:
    events = packets.join([one for one, _ in parts if len(one[0])])
    order = np.argsort(events[0], kind="stable")
    t, x, y, p = events
    marks = np.concatenate([one for _, one in parts])
    return Reading(
        (t[order], x[order], y[order], p[order]), done, marks[np.argsort(marks[:, 0], kind="stable")]
    )


def _appended(sources: Sequence[Source], selection: Selection) -> Iterator[Reading]:
    newest = -1
    for i, source in enumerate(sources):
        offset: int | None = None
        for events, done, triggers in selected(source, selection):
            firsts = [int(column[0]) for column in (events[0], triggers[:, 0]) if len(column)]
            if offset is None and firsts:
                offset = max(0, newest + 1 - min(firsts)) if newest > min(firsts) else 0
                if offset:
                    source.info.details["moved_by_us"] = offset
            by = offset or 0
            moved, marks = (events[0] + by, *events[1:]), triggers + np.array([by, 0, 0])
            newest = max(newest, *(int(column[-1]) for column in (moved[0], marks[:, 0]) if len(column)), -1)
            yield Reading(moved, (i + done) / len(sources), marks)
