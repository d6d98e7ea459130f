"""What a live source is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from kernels.coding.decode import Triggers, no_triggers
from pipeline import packets
from pipeline.packets import Events
from pipeline.sensor import Sensor


class Arrival(NamedTuple):
    """What has come.

    Attributes:
        events: in the order in which they came.
        triggers: edges on the camera's trigger inputs.
        gap: whether data was lost before these events.
        heartbeat_us: no later event is earlier than this; None where the source cannot know.
    """

    events: Events
    triggers: Triggers = no_triggers()
    gap: bool = False
    heartbeat_us: int | None = None


class Live(Protocol):
    """A source that goes on by itself.

    Attributes:
        name: what it is.
        epoch_ns: nanoseconds since 1970 at stream time 0; 0 where unknown.
        losses: what is known to have been lost, repaired or reconnected, counted.
        loss_note: what could be lost without anybody noticing.
        warnings: what was guessed of it and looks wrong.
    """

    name: str
    epoch_ns: int
    losses: dict[str, int]
    loss_note: str
    warnings: list[str]

    @property
    def sensor(self) -> Sensor | None:
        """Its pixel grid; known once the first arrival has come."""
        ...

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """See :class:`pipeline.sources.base.Source`."""
        ...

    def arrivals(self) -> Iterator[Arrival]:
        """What comes, as it comes; yields empty arrivals while it is quiet, so that the reader can stop.

        Raises:
            SourceError: it cannot be reached, or not any more.
        """
        ...

    def close(self) -> None:
        """Let go of sockets and devices."""
        ...


class BaseLive:
    """What most live sources share."""

    loss_note = "nothing"

    def __init__(self, name: str, give_up_s: float = 0.0) -> None:
        self.name, self._give_up_s = name, give_up_s
        self.epoch_ns = 0
        self.losses: dict[str, int] = {}
        self.warnings: list[str] = []
        self.sensor: Sensor | None = None
        self._heard_s = time.monotonic()

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to let go of."""

    def _lost(self, what: str, n: int = 1) -> None:
        if n > 0:
            self.losses[what] = self.losses.get(what, 0) + n

    def _heard(self) -> None:
        self._heard_s = time.monotonic()

    def _silent_too_long(self) -> bool:
        return self._give_up_s > 0 and time.monotonic() - self._heard_s > self._give_up_s


class IngressClock:
    """Stream time for what has no clock of its own: monotonic, 0 at its start."""

    def __init__(self) -> None:
        self._start_ns, self.epoch_ns = time.monotonic_ns(), time.time_ns()

    def now_us(self) -> int:
        """us since its start."""
        return (time.monotonic_ns() - self._start_ns) // 1000


NOTHING = Arrival(packets.no_events())
