"""Event recordings, checked: whatever a reader yields leaves here in order of time and on the sensor.

What is wrong (:class:`~pipeline.sources.formats.reader.Faults`) is refused, or put right or left out and
counted, as the policy says. Memory is bounded whatever the recording's length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from kernels.coding.events import first_fall, inside, is_sorted, settle, survey
from kernels.columns import T
from pipeline import packets
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading, SourceInfo
from pipeline.sources.formats import FORMATS
from pipeline.sources.formats.reader import CHUNK_EVENTS, UNITS_US, Faults, Guarded, Reader
from pipeline.sources.options import InputOptions

BATCH = 65_536
MAX_T_US = 2**53 - 1
LARGEST_SPAN = 2**25
"""Pixels: what events span beyond this is a broken row's doing."""
HELD_BACK = 2**20
"""Events that wait for earlier ones: a time that falls behind more than these cannot be put in order."""
_FASTEST, _SLOWEST = 1e9, 100.0
"""Events a second: beyond these a unit of time that nobody stated is doubted."""
_ENOUGH = 100
"""Events from which their rate says something."""
_DEEP_US, _MANY_FALLS = 1_000_000, 0.05
"""How far time falls, and at which share of the events, before more than jitter is suspected."""
_BRIEF_S = 0.01
"""So short a recording may be one in ms that was taken for us."""


class Recording:
    """A recording; see :class:`pipeline.sources.base.Source`.

    Args:
        path: the file.
        kind: its format, a name of :data:`FORMATS`.
        options: what the file does not say, and what becomes of what is wrong in it.

    Raises:
        SourceError: it is broken at its start, or empty.
    """

    def __init__(self, path: Path, kind: str, options: InputOptions) -> None:
        self.name = path.name
        self._options = options
        self._zero_us: int | None = None
        self._deepest_us = 0
        self._multiples_of_1000 = True
        self._faults = Faults(path.name, options.on_fault)
        self._open = lambda: Guarded(lambda: FORMATS[kind](path, self._faults, options), kind, self._faults)
        self._triggers = [no_triggers()]
        self._reader, self._parts = self._begin()
        stated = options.sensor or self._reader.sensor
        grid = stated or self._spanned()
        self.info = SourceInfo(
            format=kind, sensor=grid, repaired=self._faults.counts, details=self._reader.details,
            sensor_from="given" if options.sensor else "file" if stated else "events",
            epoch_ns=0 if options.zero_time else self._reader.epoch_ns,
        )  # fmt: skip

    @property
    def origin_us(self) -> int | None:
        """See :class:`pipeline.sources.base.Source`."""
        return self.info.t_first_us

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """None: a camera saw it."""
        return ()

    def batches(self) -> Iterator[Reading]:
        """See :class:`pipeline.sources.base.Source`."""
        if self.info.events is not None:
            self._begin_again()
        order = _Order(self._faults)
        self._deepest_us = 0
        self.info.events = self.info.triggers = taken = 0
        for part in self._parts:
            events, triggers = self._usable(part.events), self._timed(part.triggers)
            taken += len(events[0])
            self._triggers += [triggers] if len(triggers) else []
            # What waits to be put in order has been read and is not done yet.
            yield from self._cut(order.take(events), part.done / max(taken, 1))
            if sum(map(len, self._triggers)) > HELD_BACK:  # nothing but triggers: they do not wait for ever
                yield Reading(packets.no_events(), part.done, self._triggers_until(MAX_T_US))
        yield from self._cut(order.rest(), 1.0 / max(taken, 1))
        self._deepest_us = order.deepest_us
        if any(map(len, self._triggers)):
            yield Reading(packets.no_events(), 1.0, self._triggers_until(MAX_T_US))
        self.info.epoch_ns = 0 if self._options.zero_time else self._reader.epoch_ns
        self.info.warnings = self._warnings()
        if self.info.events == 0:
            raise self._faults.error("holds no events that can be used")

    def _begin(self) -> tuple[Reader, Iterator[Reading]]:
        """A reader, and its parts from the first that holds events on."""
        guarded = self._open()
        parts, before = guarded.parts(), list[Reading]()
        for part in parts:
            before += [part] if len(part.events[0]) or len(part.triggers) else []
            if len(part.events[0]):
                return guarded.reader, chain(before, parts)
        raise self._faults.error("holds no events")

    def _spanned(self) -> Sensor:
        """The smallest grid that holds all events: a file without geometry is read twice."""
        width = height = 1
        for part in self._parts:
            _, x, y, _ = part.events
            if len(x):
                width, height = max(width, int(x.max()) + 1), max(height, int(y.max()) + 1)
        height = min(height, 32768)  # no row lies below: what does is left out
        if width * height > LARGEST_SPAN:
            raise self._faults.error(
                f"its events span {width}x{height} px, more than any sensor: give the sensor"
            )
        self._begin_again()
        return Sensor(width=width, height=height)

    def _begin_again(self) -> None:
        self._faults.counts.clear()  # or all would be counted twice
        self._zero_us = None
        self._triggers = [no_triggers()]
        self._reader, self._parts = self._begin()

    def _usable(self, events: Events) -> Events:
        """Events on the sensor and within time."""
        t, x, y, p = events
        if len(t) == 0:
            return events
        t = self._from_zero(t)
        sensor = self.info.sensor
        lowest, highest, right, bottom = survey(t, x, y)
        if right >= sensor.width or bottom >= sensor.height:
            kept = inside(x, y, sensor.width, sensor.height)
            n = len(kept) - int(np.count_nonzero(kept))
            self._faults.found("dropped_outside_sensor", n, f"{n} events lie outside its {sensor} sensor")
            t, x, y, p = t[kept], x[kept], y[kept], p[kept]
        if lowest < 0 or highest > MAX_T_US:
            kept = (t >= 0) & (t <= MAX_T_US)
            n = len(kept) - int(np.count_nonzero(kept))
            self._faults.found("dropped_beyond_time", n, f"{n} times lie outside 0 .. 2^53 - 1 us")
            t, x, y, p = t[kept], x[kept], y[kept], p[kept]
        self._multiples_of_1000 = self._multiples_of_1000 and self._reader.guessed_unit is not None and (
            not np.any(t % 1000)
        )  # fmt: skip
        return t, x, y, p

    def _from_zero(self, t: T) -> T:
        """Times as they are, or counted from the first event; a recording that begins below 0 needs the latter."""
        if self._zero_us is None:
            self._zero_us = int(t.min()) if self._options.zero_time else 0
            below = int(np.count_nonzero(t < 0))
            if not self._options.zero_time and (t[0] < 0 or below > max(10, len(t) // 100)):
                raise self._faults.error(
                    f"{below} of its first {len(t)} times are negative, such as {int(t.min())} us: "
                    "--zero-time counts them from the first event"
                )
        return t - self._zero_us if self._zero_us else t

    def _warnings(self) -> list[str]:
        """What a rule decided and the events make unlikely."""
        return [*self._disorder(), *(self._outside() or self._doubts_of_unit())]

    def _disorder(self) -> list[str]:
        """What events that were put in order make unlikely."""
        falls, events = self._faults.counts.get("sorted_falls_of_time", 0), self.info.events or 0
        if self._deepest_us > _DEEP_US:
            return [
                f"time falls by {self._deepest_us * 1e-6:g} s: a clock that began again, or two recordings in one "
                "file; what follows the fall was sorted in between what lies before it"
            ]
        if falls > _MANY_FALLS * events and falls > _ENOUGH:
            return [
                f"time falls {falls:,} times among {events:,} events, as no camera's does: is it what it was read as?"
            ]
        return []

    def _outside(self) -> list[str]:
        """What many events beyond the sensor make unlikely."""
        info, outside = self.info, self._faults.counts.get("dropped_outside_sensor", 0)
        if outside <= 0.1 * (outside + (info.events or 0)):
            return []
        share = outside / (outside + (info.events or 0))
        stated, remedy = (
            ("that it states", "give --sensor")
            if info.sensor_from == "file"
            else ("that was given", "is --sensor right?")
        )
        return [f"{share:.0%} of its events lie outside the {info.sensor} sensor {stated}; {remedy}"]

    def _doubts_of_unit(self) -> list[str]:
        info, unit = self.info, self._reader.guessed_unit
        if unit is None or not info.events or info.t_first_us is None or info.t_last_us is None:
            return []
        seconds = (info.t_last_us - info.t_first_us) * 1e-6
        rate = info.events / max(seconds, 1e-6)
        if info.events < _ENOUGH:
            return []
        taken = f"times were taken as {unit}, which neither the file nor --time-unit states"
        if not _SLOWEST <= rate <= _FASTEST:
            likely = [
                u for u, us in UNITS_US.items() if _SLOWEST <= rate * UNITS_US[unit] / us <= _FASTEST / 10
            ]
            stated = " or ".join(f"--time-unit {one}" for one in likely) or "--time-unit"
            hint = f"if they are {' or '.join(likely) or 'not'}, give {stated}"
            return [f"{info.events:,} events in {seconds:g} s: {taken}; {hint}"]
        if unit == "us" and seconds < _BRIEF_S:
            return [f"{info.events:,} events in {seconds:g} s: {taken}; if they are ms, give --time-unit ms"]
        if self._multiples_of_1000:
            finer = "ns" if unit == "us" else "ms"
            step = "1,000" if unit == "us" else "0.001"
            return [
                f"all times are multiples of {step}: {taken}; if they are {finer}, give --time-unit {finer}"
            ]
        return []

    def _timed(self, triggers: Triggers) -> Triggers:
        if len(triggers) == 0:
            return triggers
        if self._zero_us:
            triggers = triggers - np.array([self._zero_us, 0, 0])
        kept = triggers[(triggers[:, 0] >= 0) & (triggers[:, 0] <= MAX_T_US)]
        n = len(triggers) - len(kept)
        self._faults.found("dropped_triggers", n, f"{n} triggers lie outside 0 .. 2^53 - 1 us")
        self.info.triggers += len(kept)
        return kept

    def _triggers_until(self, t_us: int) -> Triggers:
        """Those that wait and are not later, in order of time."""
        waiting = np.concatenate(self._triggers)
        ready = waiting[:, 0] <= t_us
        found, self._triggers = waiting[ready], [waiting[~ready]]
        return found[np.argsort(found[:, 0], kind="stable")]

    def _cut(self, ready: list[Events], done_per_event: float) -> Iterator[Reading]:
        for events in ready:
            n, before = len(events[0]), self.info.events or 0
            self._count(events[0])
            for start in range(0, n, BATCH):
                part = packets.cut(events, start, min(start + BATCH, n))
                waiting = any(map(len, self._triggers))
                triggers = self._triggers_until(int(part[0][-1])) if waiting else no_triggers()
                yield Reading(part, min(1.0, (before + start + len(part[0])) * done_per_event), triggers)

    def _count(self, t: T) -> None:
        info = self.info
        info.events = (info.events or 0) + len(t)
        info.t_first_us = int(t[0]) if info.events == len(t) or info.t_first_us is None else info.t_first_us
        info.t_last_us = int(t[-1])


class _Order:
    """Puts events in order of time, holding back as many as :data:`HELD_BACK`; ties stay in the file's order."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: deque[Events] = deque()
        self._n = 0
        self._released = -1
        self._newest = self._last = -1
        self.deepest_us = 0
        """How far time fell at most."""

    def take(self, events: Events) -> list[Events]:
        """What need not wait any longer."""
        t = events[0]
        if len(t) == 0:
            return []
        before, self._last = self._last, int(t[-1])
        if not is_sorted(t) or int(t[0]) < self._newest:
            events = self._mended(events, before)
            t = events[0]
            if len(t) == 0:
                return []
        self._newest = max(self._newest, int(t[-1]))
        for start in range(0, len(t), CHUNK_EVENTS):  # what was merged is let go in pieces, too
            self._held.append(packets.cut(events, start, min(start + CHUNK_EVENTS, len(t))))
        self._n += len(t)
        ready: list[Events] = []
        while self._n - len(self._held[0][0]) >= HELD_BACK:
            ready.append(self._held.popleft())
            self._n -= len(ready[-1][0])
            self._released = int(ready[-1][0][-1])
        return ready

    def rest(self) -> list[Events]:
        """The end: nothing earlier comes any more."""
        held, self._held = list(self._held), deque()
        return held

    def _mended(self, events: Events, before: int) -> Events:
        """Events that can follow those that are held, which may have become others."""
        t = events[0]
        running = np.maximum.accumulate(np.concatenate([[self._newest], t]))[:-1]
        falls = int(np.count_nonzero(np.diff(t, prepend=before) < 0))
        self.deepest_us = max(self.deepest_us, int((running - t).max()))
        if self._faults.policy == "drop":
            kept = t >= running
            n = len(kept) - int(np.count_nonzero(kept))
            self._faults.found("dropped_falls_of_time", n, "")
            return events[0][kept], events[1][kept], events[2][kept], events[3][kept]
        at = max(first_fall(t), 0)
        self._faults.found(
            "sorted_falls_of_time", falls, f"time falls to {int(t[at])} us after {int(running[at])} us"
        )
        kept = t >= self._released
        n = len(kept) - int(np.count_nonzero(kept))
        self._faults.found("dropped_too_late", n, "")
        if n:
            events = events[0][kept], events[1][kept], events[2][kept], events[3][kept]
        if len(events[0]) == 0:
            return events
        return _in_order(packets.join([*self._later_than(int(events[0].min())), events]))

    def _later_than(self, t_us: int) -> list[Events]:
        """The held events after ``t_us``, which are held no longer."""
        later: list[Events] = []
        while self._held and int(self._held[-1][0][-1]) > t_us:
            last = self._held.pop()
            at = int(np.searchsorted(last[0], t_us, side="right"))
            later.insert(0, packets.cut(last, at, len(last[0])))
            self._n -= len(last[0]) - at
            if at:
                self._held.append(packets.cut(last, 0, at))
                break
        return later


def _in_order(events: Events) -> Events:
    """Sorted by time, ties as they are."""
    columns = events[0].copy(), events[1].copy(), events[2].copy(), events[3].copy()
    if settle(*columns):
        return columns
    order = np.argsort(events[0], kind="stable")
    return events[0][order], events[1][order], events[2][order], events[3][order]
