"""One stream from events to rows: clock, sensor check, graph, row numbers and digests.

Live and offline run this same object; it knows neither files nor sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kernels.events import inside
from pipeline import rows as rows_
from pipeline.clock import Clock
from pipeline.graph import Graph
from pipeline.packets import Events, Gap, Packet
from pipeline.rows import RowDigest, Rows


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
    """

    def __init__(self, graph: Graph, clock: Clock | None = None) -> None:
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
        self.events += len(columns[0])
        return self._through(self.clock.events(columns))

    def heartbeat(self, t_us: int) -> list[Result]:
        """No later event is earlier than ``t_us``."""
        return self._through(self.clock.heartbeat(t_us))

    def gap(self, t_us: int) -> list[Result]:
        """The sender lost data before ``t_us``."""
        return self._through(self.clock.gap(t_us))

    def end(self) -> list[Result]:
        """The end of the stream: everything that is still open."""
        return self._through(self.clock.flush()) + self._number(self.graph.flush())

    def digests(self) -> dict[str, str]:
        """SHA-256 per output over its rows so far, in canonical order."""
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    @property
    def dropped(self) -> dict[str, int]:
        """Events that the graph never saw, by reason."""
        return {"late": self.clock.late, "out_of_sensor": self.out_of_sensor, "shed": 0}

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
            self._digests[name].add(rows)
            results.append(Result(name, self.rows[name], rows, packet.watermark_us, packet.gaps))
            self.rows[name] += len(rows)
        return results
