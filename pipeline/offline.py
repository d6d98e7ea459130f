"""A pipeline over a whole source, step by step, or over columns at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernels.columns import T
from kernels.decode import Triggers, no_triggers
from pipeline import packets, rows
from pipeline.clock import Clock
from pipeline.engine import Engine, Result
from pipeline.graph import Graph
from pipeline.packets import Columns, Events
from pipeline.sources.base import Reading, Source
from pipeline.spec import PipelineSpec, Sensor, load

_STEP = 65_536
"""Events are taken in at least so many at a time, where the source gives fewer."""


class Step(NamedTuple):
    """What went in, what came out, and the fraction of the source that is done."""

    events: Events
    results: list[Result]
    done: float


@dataclass(frozen=True)
class Selection:
    """A part of an input.

    Attributes:
        from_us: events before this are left out; counted from stream time 0.
        to_us: so are events at or after this.
        roi: x, y, width, height: so are events outside this rectangle; coordinates stay.
    """

    from_us: int | None = None
    to_us: int | None = None
    roi: tuple[int, int, int, int] | None = None

    def apply(self, events: Events) -> Events:
        """The events inside."""
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


EVERYTHING = Selection()


def engine_for(source: Source, spec: PipelineSpec, clock: Clock | None = None) -> Engine:
    """A fresh engine that fits a source.

    Raises:
        SpecError: the pipeline does not fit it.
    """
    return Engine(Graph(spec, source.info.sensor), clock, source.doubts)


def steps(engine: Engine, source: Source, selection: Selection = EVERYTHING) -> Iterator[Step]:
    """Run ``engine`` over a source; the last step has no events and closes what is open.

    Raises:
        SourceError: the source cannot be read on.
    """
    for arrived in selected(source, selection):
        results = engine.feed(arrived.events)
        yield Step(arrived.events, results + engine.triggers(arrived.triggers), arrived.done)
    yield Step(packets.no_events(), engine.end(), 1.0)


def selected(source: Source, selection: Selection = EVERYTHING) -> Iterator[Reading]:
    """The selected part of a source, in steps worth taking; nothing behind it is read.

    Raises:
        SourceError: the source cannot be read on.
    """
    for arrived in _gathered(source):
        triggers = selection.apply_to_triggers(arrived.triggers)
        if selection.over(arrived.events[0]):
            yield Reading(packets.no_events(), 1.0, triggers)
            return
        yield Reading(selection.apply(arrived.events), arrived.done, triggers)


def run(
    spec: PipelineSpec | str, events: Events, sensor: tuple[int, int] | None = None
) -> dict[str, Columns]:
    """All answers to a recording at hand, as columns per output.

    Args:
        spec: a pipeline, or the name of a preset.
        events: columns t (int64 us, never falling), x, y (uint16), p (bool).
        sensor: (width, height), where the pipeline does not say.

    Raises:
        SpecError: the pipeline cannot be used.
    """
    grid = None if sensor is None else Sensor(width=sensor[0], height=sensor[1])
    engine = Engine(Graph(load(spec) if isinstance(spec, str) else spec, grid))
    t, x, y, p = events
    columns = (
        np.ascontiguousarray(t, np.int64), np.ascontiguousarray(x, np.uint16),
        np.ascontiguousarray(y, np.uint16), np.ascontiguousarray(p, np.bool_),
    )  # fmt: skip
    results = engine.feed(columns) + engine.end()
    return {
        name: rows.unpack(np.concatenate([r.rows for r in results if r.output == name]), port)
        for name, port in engine.graph.outputs.items()
    }


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
