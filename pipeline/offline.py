"""A pipeline over a whole source, step by step, or over columns at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline import packets, rows
from pipeline.arrays import events_of
from pipeline.clock import Clock
from pipeline.engine import Engine, Result
from pipeline.graph import Graph
from pipeline.packets import Columns, Events
from pipeline.prefetch import read_ahead
from pipeline.sensor import Sensor
from pipeline.sources.base import Source
from pipeline.sources.options import TimeUnit
from pipeline.sources.selection import EVERYTHING, Selection, selected
from pipeline.spec import PipelineSpec, load, validate


class Step(NamedTuple):
    """What went in, what came out, and the fraction of the source that is done."""

    events: Events
    results: list[Result]
    done: float


def engine_for(
    source: Source, spec: PipelineSpec, clock: Clock | None = None, threads: int | None = None
) -> Engine:
    """A fresh engine that fits a source; ``threads`` work on it where the pipeline does not say.

    Raises:
        SpecError: the pipeline does not fit it.
    """
    graph = Graph(spec, source.info.sensor, threads=None if spec.threads else threads)
    return Engine(graph, clock, source.unreliable_spans)


def steps(
    engine: Engine, source: Source, selection: Selection = EVERYTHING, ahead: bool = False
) -> Iterator[Step]:
    """Run ``engine`` over a source; the last step has no events and closes what is open.

    Args:
        engine: fresh.
        source: likewise.
        selection: a part of it.
        ahead: whether the source is read in a thread of its own while the engine works.

    Raises:
        SourceError: the source cannot be read on.
    """
    parts = selected(source, selection)
    with read_ahead(parts) if ahead else nullcontext(parts) as arriving:
        for arrived in arriving:
            results = engine.feed(arrived.events)
            yield Step(arrived.events, results + engine.triggers(arrived.triggers), arrived.done)
    yield Step(packets.no_events(), engine.end(), 1.0)


class Answers(dict[str, Columns]):
    """The answers to a recording at hand: columns per output.

    Attributes:
        labels: per output the names that its column ``label`` counts.
        dropped: events that were not used, by reason; only what is not 0.
        sorted_falls: places where time fell; the events were put in order.
        digests: SHA-256 per output over its rows.
    """

    def __init__(
        self, engine: Engine, columns: dict[str, Columns], dropped: dict[str, int], falls: int
    ) -> None:
        super().__init__(columns)
        self.labels = {
            name: [label.name for label in port.labels]
            for name, port in engine.graph.outputs.items()
            if port.labels
        }
        self.dropped = {reason: n for reason, n in {**engine.dropped, **dropped}.items() if n}
        self.sorted_falls = falls
        self.digests = engine.digests()


def run(
    spec: PipelineSpec | dict[str, Any] | str, events: Any, sensor: tuple[int, int] | None = None, *,
    columns: str | None = None, unit: TimeUnit | None = None, on_fault: Literal["error", "drop"] = "error",
) -> Answers:  # fmt: skip
    """All answers to a recording at hand, as columns per output.

    Args:
        spec: a pipeline, its document, or the name of a preset or of a file.
        events: t, x, y, p as a tuple of columns, a mapping or a structured array with the usual names, or an array
            [n, 4] with ``columns``; see :func:`pipeline.arrays.events_of`.
        sensor: (width, height), where the pipeline does not say.
        columns: the order of an array's columns, such as ``xytp``; ``_`` skips one.
        unit: of the times; needed where they are floats, us where it is not given.
        on_fault: whether events that no sensor of this size can have sent are an error, or dropped and counted.

    Raises:
        SpecError: the pipeline cannot be used.
        ArrayError: the events cannot; a ValueError.
    """
    grid = None if sensor is None else Sensor(width=sensor[0], height=sensor[1])
    document = validate(spec) if isinstance(spec, dict) else load(spec) if isinstance(spec, str) else spec
    engine = Engine(Graph(document, grid))
    taken = events_of(events, engine.graph.sensor, columns, unit, on_fault)
    results = engine.feed(taken.events) + engine.end()
    answers = {
        name: rows.unpack(
            np.concatenate([np.empty(0, rows.layout(port)), *(r.rows for r in results if r.output == name)]),
            port,
        )
        for name, port in engine.graph.outputs.items()
    }
    return Answers(engine, answers, taken.dropped, taken.falls)
