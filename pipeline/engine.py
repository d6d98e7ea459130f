"""One stream from events to rows: clock, sensor check, graph, row numbers and digests.

Live and offline run this same object; it knows neither files nor sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.coding.decode import Triggers
from kernels.coding.events import inside
from pipeline import cancellation, packets
from pipeline import rows as rows_
from pipeline.clock import Clock
from pipeline.graph import TRIGGERS, Graph
from pipeline.packets import UNRELIABLE, Events, Gap, Packet
from pipeline.rows import RowDigest, Rows

_PART_EVENTS, _PART_US = 65_536, 1_000_000
"""Events, and stream time, that are worked off between two looks whether to go on."""
_REMEMBERED_US = 50_000
"""How long a detector may remember what it saw."""


@dataclass(frozen=True)
class Result:
    """Rows of one output.

    Attributes:
        output: its name.
        first_row: number of the first row; rows are numbered from 0 for the life of the stream.
        rows: in the layout of :mod:`pipeline.rows`.
        watermark_us: results of this output are complete before this time.
        gaps: holes before the first of these rows.
    """

    output: str
    first_row: int
    rows: Rows
    watermark_us: int
    gaps: tuple[Gap, ...] = ()


class Engine:
    """Runs a graph over events as they arrive.

    Args:
        graph: freshly built.
        clock: fresh.
        unreliable_spans: spans (from, to] in us in which motion cannot be told, in order; whoever feeds events adds
            those up to them before. Rows whose time lies in one, or so little behind it that a detector may still
            remember it, carry the flag ``unreliable``.
    """

    def __init__(
        self, graph: Graph, clock: Clock | None = None, unreliable_spans: Sequence[tuple[int, int]] = ()
    ) -> None:
        self._doubts = unreliable_spans
        self._last_trigger_us = -1
        self.late_triggers = 0
        self.labels_learned = self.labels_unused = 0
        self.graph = graph
        self.clock = clock or Clock()
        self.events = 0
        self.out_of_sensor = 0
        self.rows = dict.fromkeys(graph.outputs, 0)
        self._digests = {name: RowDigest(port) for name, port in graph.outputs.items()}

    def feed(self, columns: Events) -> list[Result]:
        """Answers to events in arrival order; those outside the sensor are dropped and counted.

        Raises:
            LateEvent: one was late, and the clock takes that for an error.
        """
        return [result for part in self.feeding(columns) for result in part]

    def feeding(self, columns: Events) -> Iterator[list[Result]]:
        """The same, a bounded part of the events at a time, between which the work may be broken off.

        Raises:
            LateEvent: see :meth:`feed`.
            Interrupted: see :mod:`pipeline.cancellation`.
        """
        for start, stop in pairwise(_parts(columns[0])):
            cancellation.checkpoint()
            self.events += stop - start
            yield self._through(self.clock.events(packets.cut(columns, start, stop)))

    def triggers(self, triggers: Triggers) -> list[Result]:
        """Edges on the camera's trigger inputs, in order of time; those that come late are dropped and counted.

        They pass by the graph into the output ``triggers``, where the pipeline asks for it.
        """
        if TRIGGERS not in self.rows or len(triggers) == 0:
            return []
        t = triggers[:, 0]
        newest = np.maximum.accumulate(np.concatenate([[self._last_trigger_us], t]))
        kept = triggers[t >= newest[:-1]]
        self.late_triggers += len(triggers) - len(kept)
        self._last_trigger_us = int(newest[-1])
        columns = {
            "t": np.ascontiguousarray(kept[:, 0]), "channel": kept[:, 1].astype(np.uint16),
            "level": kept[:, 2].astype(np.uint16),
        }  # fmt: skip
        return self._number([(TRIGGERS, Packet("triggers", columns, self._last_trigger_us))])

    def heartbeat(self, t_us: int) -> list[Result]:
        """No later event is earlier than ``t_us``."""
        return self._through(self.clock.heartbeat(t_us))

    def label(self, output: str, label: str | None, from_us: int, to_us: int) -> bool:
        """What was seen in (from_us, to_us], for the stage behind an output; None to forget what it was taught.

        Bins that close from now on are evaluated with what was learned.

        Returns:
            Whether the stage learned from it.
        """
        learned = self.graph.teach(output.partition(".")[0], label, from_us, to_us)
        self.labels_learned += learned
        self.labels_unused += not learned
        return learned

    def gap(self, t_us: int) -> list[Result]:
        """The sender lost data before ``t_us``."""
        return self._through(self.clock.gap(t_us))

    def end(self) -> list[Result]:
        """The end of the stream: everything that is still open."""
        return self._through(self.clock.flush()) + self._number(self.graph.flush())

    def digests(self) -> dict[str, str]:
        """SHA-256 per output over its rows so far, in canonical order."""
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def snapshot(self) -> dict[str, dict[str, NDArray[Any]]]:
        """All that it knows, between two feeds: its clock, its stages, its rows and their digests."""
        counts = [self._last_trigger_us, self.late_triggers, self.labels_learned, self.labels_unused,
                  self.events, self.out_of_sensor]  # fmt: skip
        own = {"counts": np.array(counts, np.int64), "rows": np.array(list(self.rows.values()), np.int64),
               "removed": np.array(list(self.graph.removed.values()), np.int64)}  # fmt: skip
        stages = {f"stage.{name}": arrays for name, arrays in self.graph.snapshot().items()}
        digests = {f"digest.{name}": digest.snapshot() for name, digest in self._digests.items()}
        return {"engine": own, "clock": self.clock.snapshot(), **stages, **digests}

    def restore(self, state: dict[str, dict[str, NDArray[Any]]]) -> None:
        """Go on from a snapshot of an engine with the same graph."""
        (
            self._last_trigger_us, self.late_triggers, self.labels_learned, self.labels_unused,
            self.events, self.out_of_sensor,
        ) = (int(n) for n in state["engine"]["counts"])  # fmt: skip
        self.rows = dict(zip(self.rows, (int(n) for n in state["engine"]["rows"]), strict=True))
        none = np.zeros(len(self.graph.removed), np.int64)
        removed = state["engine"].get("removed", none)  # earlier snapshots do not have it
        self.graph.removed.update(zip(self.graph.removed, map(int, removed), strict=True))
        self.clock.restore(state["clock"])
        names = self.graph.stage_names
        self.graph.restore({name: state.get(f"stage.{name}", {}) for name in names})
        for name, digest in self._digests.items():
            digest.restore(state[f"digest.{name}"])

    @property
    def dropped(self) -> dict[str, int]:
        """Events that the graph never saw, by reason."""
        lost = {"late_triggers": self.late_triggers} if self.late_triggers else {}
        return {"late": self.clock.late, "out_of_sensor": self.out_of_sensor, "shed": 0, **lost}

    def _through(self, packets: Iterable[Packet]) -> list[Result]:
        return self._number(
            [sent for packet in packets for sent in self.graph.process(self._on_sensor(packet))]
        )

    def _on_sensor(self, packet: Packet) -> Packet:
        """Without the events that no pixel can have sent; their times have counted all the same."""
        c, sensor = packet.columns, self.graph.sensor
        kept = inside(c["x"], c["y"], sensor.width, sensor.height)
        self.out_of_sensor += len(kept) - int(np.count_nonzero(kept))
        return packet.keep(kept)

    def _number(self, sent: list[tuple[str, Packet]]) -> list[Result]:
        results: list[Result] = []
        for name, packet in sent:
            rows = rows_.pack(packet.columns, self.graph.outputs[name])
            if self._doubts and "flags" in (rows.dtype.names or ()):
                rows["flags"][_doubtful(rows["t"], self._doubts)] |= UNRELIABLE
            self._digests[name].add(rows)
            results.append(Result(name, self.rows[name], rows, packet.watermark_us, packet.gaps))
            self.rows[name] += len(rows)
        return results


def _parts(t: NDArray[np.int64]) -> list[int]:
    """Where events are cut: so many at a time, and so much of stream time, as time itself costs some stages work."""
    n = len(t)
    cuts = set(range(0, n, _PART_EVENTS)) | {0, n}
    if n and int(t.max()) - int(t.min()) > _PART_US:
        spans = np.maximum.accumulate(t) // _PART_US
        cuts |= set((np.flatnonzero(np.diff(spans)) + 1).tolist())
    return sorted(cuts) if n else [0, 0]


def _doubtful(t: NDArray[np.int64], unreliable_spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    starts, ends = (np.array(side, np.int64) for side in zip(*unreliable_spans, strict=True))
    before = np.searchsorted(starts, t, side="left") - 1
    return (before >= 0) & (t <= ends[np.maximum(before, 0)] + _REMEMBERED_US)
