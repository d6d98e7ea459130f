"""A part of an input: a range of time and a rectangle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from kernels.columns import T
from pipeline import packets
from pipeline.packets import Events
from pipeline.sensor import Sensor
from pipeline.sources.base import Reading, Source, SourceError

_STEP = 65_536
"""Events are taken in at least so many at a time, where the source gives fewer."""


@dataclass(frozen=True)
class Selection:
    """A part of an input.

    Attributes:
        from_us: events before this are left out.
        to_us: so are events at or after this.
        roi: x, y, width, height: so are events outside this rectangle; coordinates stay.
        absolute: times are the camera's; else they count from the source's origin, its first event.
    """

    from_us: int | None = None
    to_us: int | None = None
    roi: tuple[int, int, int, int] | None = None
    absolute: bool = False

    @property
    def is_timed(self) -> bool:
        """Whether it is a range of time."""
        return self.from_us is not None or self.to_us is not None

    def after(self, origin_us: int) -> Selection:
        """The same part in the camera's clock, of a source whose origin is known."""
        if self.absolute or not self.is_timed:
            return self
        from_us, to_us = (None if t is None else t + origin_us for t in (self.from_us, self.to_us))
        return Selection(from_us, to_us, self.roi, absolute=True)

    def apply(self, events: Events) -> Events:
        """The events inside; times are the camera's."""
        t, x, y, p = events
        kept = np.ones(len(t), np.bool_)
        if self.from_us is not None:
            kept &= t >= self.from_us
        if self.to_us is not None:
            kept &= t < self.to_us
        if self.roi is not None:
            left, top, width, height = self.roi
            kept &= (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
        return events if kept.all() else (t[kept], x[kept], y[kept], p[kept])

    def apply_to_triggers(self, triggers: Triggers) -> Triggers:
        """The triggers inside; they have no place."""
        if len(triggers) == 0:
            return triggers
        t = triggers[:, 0]
        first = 0 if self.from_us is None else self.from_us
        return triggers[(t >= first) & ((t < self.to_us) if self.to_us is not None else True)]

    def over(self, t: T) -> bool:
        """Whether everything from here on is too late."""
        return self.to_us is not None and len(t) > 0 and int(t[0]) >= self.to_us

    def check_roi(self, sensor: Sensor, name: str) -> None:
        """Whether the rectangle meets the sensor.

        Raises:
            SourceError: it does not.
        """
        if self.roi is not None and (self.roi[0] >= sensor.width or self.roi[1] >= sensor.height):
            left, top, width, height = self.roi
            raise SourceError(
                f"{name}: the rectangle {left},{top},{width},{height} lies outside its {sensor} sensor"
            )


EVERYTHING = Selection()


def selected(source: Source, selection: Selection = EVERYTHING) -> Iterator[Reading]:
    """The selected part of a source, in steps worth taking; nothing behind it is read.

    Raises:
        SourceError: the source cannot be read on, or the range lies outside it.
    """
    selection.check_roi(source.info.sensor, source.name)
    readings = _gathered(source)
    here: Selection | None = None
    waiting: list[Triggers] = []  # those before the first event, until it says where the range begins
    met = False
    for arrived in readings:
        triggers = arrived.triggers
        if here is None:
            waiting.append(triggers)
            if source.origin_us is None:
                continue
            here = selection.after(source.origin_us)
            triggers, waiting = np.concatenate(waiting), []
        t = arrived.events[0]
        triggers = here.apply_to_triggers(triggers)
        met = met or len(triggers) > 0 or (len(t) > 0 and _meets(here, t))
        if here.over(t):
            if not met:
                raise _outside(source, selection, readings)
            yield Reading(packets.no_events(), 1.0, triggers)
            return
        yield Reading(here.apply(arrived.events), arrived.done, triggers)
    if selection.is_timed and not met and here is not None and not _spans(source, here):
        raise _outside(source, selection, readings)


def _meets(here: Selection, t: T) -> bool:
    """Whether the range begins before the last of these times, and ends behind the first."""
    return (here.from_us is None or int(t[-1]) >= here.from_us) and (
        here.to_us is None or int(t[0]) < here.to_us
    )


def _spans(source: Source, here: Selection) -> bool:
    """Whether the range lies between the source's first and last event, though nothing happened in it."""
    first, last = source.info.t_first_us, source.info.t_last_us
    if first is None or last is None:
        return True
    return (here.from_us is None or here.from_us <= last) and (here.to_us is None or here.to_us > first)


def _outside(source: Source, selection: Selection, rest: Iterator[Reading]) -> SourceError:
    for _ in rest:  # only the end says how long it lasts
        pass
    origin, last = source.origin_us or 0, source.info.t_last_us or 0
    start, end = (None if t is None else f"{t / 1e6:g} s" for t in (selection.from_us, selection.to_us))
    asked = f"from {start} on" if end is None else f"{start or 'its start'} to {end}"
    lasts = f"{(last - origin) / 1e6:.6f} s"
    if selection.absolute:
        lasts = f"from {origin / 1e6:.6f} to {last / 1e6:.6f} s"
    hint = "" if selection.absolute else "; --absolute takes the camera's clock" if origin else ""
    return SourceError(
        f"{source.name}: the range {asked} lies outside the recording, which lasts {lasts}{hint}"
    )


def _gathered(source: Source) -> Iterator[Reading]:
    """The source's batches, small ones joined: a frame's handful of events is not worth a step."""
    parts: list[Reading] = []
    n, said = 0, 0.0
    for reading in source.batches():
        parts.append(reading)
        n += len(reading.events[0])
        if n >= _STEP or reading.done - said >= 0.01:
            yield _joined(parts)
            parts, n, said = [], 0, reading.done
    if parts:
        yield _joined(parts)


def _joined(parts: list[Reading]) -> Reading:
    triggers = [part.triggers for part in parts if len(part.triggers)]
    return Reading(
        packets.join([part.events for part in parts]), parts[-1].done,
        np.concatenate(triggers) if triggers else no_triggers(),
    )  # fmt: skip
