"""Event cameras on USB, through neuromorphic-drivers (extra ``camera``)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from kernels.coding.decode import Triggers, no_triggers
from pipeline import packets
from pipeline.packets import Events
from pipeline.sources.base import SourceError
from pipeline.sources.formats.reader import sensor_of
from pipeline.sources.formats.through_faery import columns_of, triggers_of
from pipeline.sources.live.base import NOTHING, Arrival, BaseLive

_QUIET_S = 0.1
_BROKEN = (RuntimeError, OSError, ValueError, StopIteration)


class Usb(BaseLive):
    """The camera with this serial number, or the only one that is plugged in.

    Args:
        serial: of the camera; None for any.
        give_up_s: end when nothing has come for so long; 0 for never.

    Raises:
        SourceError: neuromorphic-drivers is not installed, or there is no such camera.
    """

    loss_note = (
        "what the camera's own bus arbiter drops; packets that this machine was too slow for are counted"
    )

    def __init__(self, serial: str | None, give_up_s: float) -> None:
        super().__init__("an event camera on USB", give_up_s)
        try:
            drivers: Any = importlib.import_module("neuromorphic_drivers")
        except ImportError as problem:
            raise SourceError(
                "usb: takes the package neuromorphic-drivers: install polychrony with the extra camera"
            ) from problem
        try:
            self._device: Any = drivers.open(serial=serial, iterator_timeout=_QUIET_S)
            properties = self._device.properties()
        except _BROKEN as problem:
            raise SourceError(f"usb:{serial or ''}: {str(problem) or 'no event camera'}") from problem
        self.name = str(self._device.name())
        self.sensor = sensor_of(int(properties.width), int(properties.height))

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        self._heard()
        with self._device as device:
            for _, packet in device:
                if self._silent_too_long():
                    return
                if packet is None:
                    yield NOTHING
                    continue
                self._heard()
                overflows = getattr(packet, "polarity_events_overflow_indices", None)
                behind = 0 if overflows is None else len(overflows)
                self._lost("overflows", behind)
                events, triggers = _columns(packet)
                yield Arrival(events, triggers, gap=behind > 0)


def _columns(packet: Any) -> tuple[Events, Triggers]:
    rows = getattr(packet, "polarity_events", None)
    marks = getattr(packet, "trigger_events", None)
    events = packets.no_events() if rows is None or len(rows) == 0 else columns_of(rows)
    return events, no_triggers() if marks is None else triggers_of(marks)
