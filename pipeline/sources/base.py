"""What a source is: something with a sensor that yields events in stream order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import UserError
from pipeline.packets import Events
from pipeline.spec import Sensor


class SourceError(UserError):
    """An input that cannot be read; the message names it and says what is wrong."""


@dataclass
class SourceInfo:
    """What is known of an input without running anything over it.

    Attributes:
        format: such as ``EVT3``.
        sensor: the pixel grid.
        sensor_from: ``file``, ``given``, or ``events`` where it is only what the events span.
        events: how many there are; None where they have yet to be made.
        t_first_us: time of the first event.
        t_last_us: time of the last event.
        epoch_ns: nanoseconds since 1970 at stream time 0; 0 where unknown.
        repaired: what reading had to put right, counted.
        details: more, such as a video's frames.
    """

    format: str
    sensor: Sensor
    sensor_from: str
    events: int | None = None
    t_first_us: int | None = None
    t_last_us: int | None = None
    epoch_ns: int = 0
    repaired: dict[str, int] = field(default_factory=dict[str, int])
    details: dict[str, float | int | str] = field(default_factory=dict[str, "float | int | str"])


class Source(Protocol):
    """An input that can be read once, from its start."""

    info: SourceInfo
    flags: int
    """Flags that every row made from it carries."""

    def batches(self) -> Iterator[tuple[Events, float]]:
        """Events in stream order, each batch with the fraction of the input that is done."""
        ...
