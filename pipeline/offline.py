"""A pipeline over a whole source, step by step, or over columns at hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline import packets, rows
from pipeline.clock import Clock
from pipeline.engine import Engine, Result
from pipeline.graph import Graph
from pipeline.packets import Columns, Events
from pipeline.sources.base import Source
from pipeline.sources.selection import EVERYTHING, Selection, selected
from pipeline.spec import PipelineSpec, Sensor, load


class Step(NamedTuple):
    """What went in, what came out, and the fraction of the source that is done."""

    events: Events
    results: list[Result]
    done: float


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
