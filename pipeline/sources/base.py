"""What a source is: something with a sensor that yields events in stream order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from kernels.coding.decode import Triggers, no_triggers
from pipeline.errors import UserError
from pipeline.packets import Events
from pipeline.sensor import Sensor

Policy = Literal["error", "repair", "drop"]
"""How to handle what is wrong in an input: it is refused; put right where that is possible and else left out;
or left out. All but the first is counted."""


class SourceError(UserError):
    """An input that cannot be read; the message names it and says what is wrong."""


class Reading(NamedTuple):
    """A part of an input.

    Attributes:
        events: in stream order.
        done: the fraction of the input that lies behind.
        triggers: edges on the camera's trigger inputs in the same time.
    """

    events: Events
    done: float
    triggers: Triggers = no_triggers()


@dataclass
class SourceInfo:
    """What is known of an input; some of it only when it has been read.

    Attributes:
        format: such as ``EVT3``.
        sensor: the pixel grid.
        sensor_from: ``file``, ``given``, or ``events`` where it is only what the events span.
        events: how many there are; None until they have been read.
        t_first_us: time of the first event.
        t_last_us: time of the last event.
        triggers: edges on trigger inputs.
        epoch_ns: nanoseconds since 1970 at stream time 0; 0 where unknown.
        repaired: what was wrong: what was put right, dropped or is missing, counted.
        details: more, such as a video's frames.
        warnings: what was guessed and looks wrong, a sentence each; for people and for ``--json``.
    """

    format: str
    sensor: Sensor
    sensor_from: str
    events: int | None = None
    t_first_us: int | None = None
    t_last_us: int | None = None
    triggers: int = 0
    epoch_ns: int = 0
    repaired: dict[str, int] = field(default_factory=dict[str, int])
    details: dict[str, float | int | str] = field(default_factory=dict[str, "float | int | str"])
    warnings: list[str] = field(default_factory=list[str])

    def count(self, what: str, n: int = 1) -> None:
        """Something was wrong ``n`` times more."""
        if n:
            self.repaired[what] = self.repaired.get(what, 0) + n


class Source(Protocol):
    """An input that can be read once, from its start.

    Attributes:
        name: of the input, for messages.
        info: what is known of it.
    """

    name: str
    info: SourceInfo

    @property
    def origin_us(self) -> int | None:
        """Where a range of time begins to count: the first event, a video's first frame; None until it was read."""
        ...

    @property
    def unreliable_spans(self) -> Sequence[tuple[int, int]]:
        """Spans (from, to] in us in which motion cannot be told; complete up to what was yielded."""
        ...

    def batches(self) -> Iterator[Reading]:
        """Events in stream order, in parts of bounded size."""
        ...
