"""AEDAT4 over TCP, as dv-processing's NetworkWriter sends it (extra ``dv``)."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.coding.decode import Triggers, no_triggers
from pipeline import packets
from pipeline.packets import Events
from pipeline.sources.base import SourceError
from pipeline.sources.formats.aedat4 import TRIGGER_TYPES
from pipeline.sources.formats.reader import sensor_of
from pipeline.sources.live.base import NOTHING, Arrival, BaseLive

_POLL_S = 0.002
_RETRY_S = 0.5


class DvStream(BaseLive):
    """Events of a NetworkWriter; connects again when the connection breaks, behind a gap.

    Args:
        host: where it listens.
        port: likewise.
        give_up_s: end when nothing has come for so long; 0 for never.

    Raises:
        SourceError: dv-processing is not installed.
    """

    loss_note = (
        "what the sender drops when its own queue is full, and what it sends while it is not connected to"
    )

    def __init__(self, host: str, port: int, give_up_s: float) -> None:
        super().__init__("AEDAT4 over TCP", give_up_s)
        try:
            self._io: Any = importlib.import_module("dv_processing").io
        except ImportError as problem:
            raise SourceError(
                "dv:// takes the package dv-processing: install polychrony with the extra dv"
            ) from problem
        self._address = host, port
        self._reader: Any = self._connect()
        if self._reader is None:
            raise SourceError(f"dv://{host}:{port}: nothing answers there")
        self._read_size()

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        self._heard()
        gap = False
        while not self._silent_too_long():
            if self._reader is None:
                time.sleep(_RETRY_S)
                self._reader = self._connect()
                if self._reader is not None:
                    self._lost("reconnects")
                    gap = True
                yield NOTHING
                continue
            events, triggers = self._take()
            if events is not None or len(triggers):
                self._heard()
                yield Arrival(packets.no_events() if events is None else events, triggers, gap)
                gap = False
            elif not self._reader.isRunning():
                self._reader = None
            else:
                time.sleep(_POLL_S)
                yield NOTHING

    def _connect(self) -> Any:
        try:
            return self._io.NetworkReader(*self._address)
        except (RuntimeError, OSError, ValueError):
            return None

    def _read_size(self) -> None:
        try:
            width, height = self._reader.getEventResolution()
        except (RuntimeError, TypeError) as problem:
            raise SourceError(f"dv://{self._address[0]}:{self._address[1]}: sends no events") from problem
        self.sensor = sensor_of(int(width), int(height))

    def _take(self) -> tuple[Events | None, Triggers]:
        triggers = no_triggers()
        try:
            batch = self._reader.getNextEventBatch()
            if self._reader.isTriggerStreamAvailable():
                found = self._reader.getNextTriggerBatch()
                if found:
                    rows = [(one.timestamp, *TRIGGER_TYPES.get(int(one.type), (15, 1))) for one in found]
                    triggers = np.array(rows, np.int64)
        except RuntimeError:  # what it throws when the other side has gone
            self._reader = None
            return None, triggers
        if batch is None or len(batch) == 0:
            return None, triggers
        rows = batch.numpy()
        events = (
            np.ascontiguousarray(rows["timestamp"], np.int64), rows["x"].astype(np.uint16),
            rows["y"].astype(np.uint16), rows["polarity"] > 0,
        )  # fmt: skip
        return events, triggers
