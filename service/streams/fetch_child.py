"""Reads a live source in a child with limits (:mod:`service.host.child`), as frames on stdout.

What it shall do comes as a line of JSON on stdin. Beside the stream's frames it writes frames of type STREAM: what
the source is, and how it is doing. Its last words on stderr say why it ended, where that was a fault.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from kernels.coding.events import pack_aer64
from pipeline import wire
from pipeline.sensor import Sensor
from pipeline.sources import InputOptions, SourceError, VideoOptions, open_source
from pipeline.sources.live import LiveOptions, Pushed, open_live
from service.access.allowed_sources import PUSHED
from service.host.child_output import output
from service.streams.rtsp_relay import Relay

_FRAME_EVENTS = 32_768
_LARGEST_STEP_US = 2**32 - 1
_TELL_S = 0.5


def run() -> None:
    """Fetch until the source ends.

    Raises:
        SourceError: it cannot be read, or not any more.
    """
    asked = json.loads(sys.stdin.buffer.readline())
    sensor = Sensor(**asked["sensor"]) if asked["sensor"] else None
    if asked["address"] == PUSHED:
        if sensor is None:
            raise SourceError("pictures: sensor: needed, as pictures are fitted to it")
        _Sender(Pushed(sys.stdin.buffer, sensor, VideoOptions()), asked).run()
        return
    stays = asked["local"] and not asked["follow"]
    if stays and open_source(Path(asked["address"])).info.sensor_from == "file":
        sensor = None  # what the file states counts: a stream of another size shall hear of it
    options = LiveOptions(asked["speed"], asked["follow"], asked["give_up_s"], InputOptions(sensor=sensor))
    sender = _Sender(open_live(_through_relay(asked), options), asked)
    sender.run()
    while asked["repeat"] and asked["local"] and sender.moved:
        sender.begin_again(open_live(asked["address"], options))
        sender.run()


def _through_relay(asked: dict[str, Any]) -> str:
    address: str = asked["address"]
    if not address.startswith("rtsp://"):
        return address
    relay = Relay(asked["host"], asked["port"])
    parts = urlsplit(address)
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return parts._replace(netloc=f"{login}127.0.0.1:{relay.port}").geturl()


class _Sender:
    """Frames of a source, numbered."""

    def __init__(self, source: Any, asked: dict[str, Any]) -> None:
        self._source, self._out = source, output()
        self._number = 0 if asked["is_file"] else asked["after"]
        self._skip_to = asked["after"] if asked["is_file"] else 0
        self._not_before_us: int = asked["not_before_us"]
        self._gap = bool(asked["gap"]) and not asked["is_file"]
        self._offset_us: int | None = None
        self._told_s = 0.0
        self._newest_us = -1
        self._introduced = False
        self._skip_events: int = asked["skip_events"]

    def run(self) -> None:
        for arrival in self._source.arrivals():
            self._introduce()
            self._send(arrival)
            if time.monotonic() - self._told_s > _TELL_S:
                self._report_losses()
        self._introduce()
        self._report_losses()

    @property
    def moved(self) -> bool:
        """Whether the last pass had events: one that has none would go round as fast as it can."""
        return self._newest_us >= self._not_before_us

    def begin_again(self, source: Any) -> None:
        """The same once more, behind what was sent: what remembers begins anew, as behind a gap."""
        self._source, self._offset_us, self._gap = source, None, True
        self._not_before_us = self._newest_us + 1

    def _introduce(self) -> None:
        """What the source is, as soon as that is known."""
        if self._introduced or self._source.sensor is None:
            return
        self._introduced = True
        sensor = self._source.sensor
        self._about(
            sensor={"width": sensor.width, "height": sensor.height}, epoch_ns=self._source.epoch_ns,
            name=self._source.name, loss_note=self._source.loss_note,
        )  # fmt: skip

    def _report_losses(self) -> None:
        self._told_s = time.monotonic()
        self._about(losses=dict(self._source.losses))

    def _about(self, **document: Any) -> None:
        text = json.dumps(document).encode()
        self._out.write(wire.build(wire.STREAM, 0, 0, 0, len(text), text))
        self._out.flush()

    def _send(self, arrival: Any) -> None:
        t, x, y, p = arrival.events
        if self._skip_events:
            skipped = min(self._skip_events, len(t))
            self._skip_events -= skipped
            t, x, y, p = (column[skipped:] for column in arrival.events)
        if self._offset_us is None and (len(t) or len(arrival.triggers)):
            first = min(int(column.min()) for column in (t, arrival.triggers[:, 0]) if len(column))
            self._offset_us = max(0, self._not_before_us - first)
        if len(t):
            t = t + (self._offset_us or 0)
            if self._gap or arrival.gap:
                self._gap = False
                self._put(wire.GAP, max(int(t[0]), self._newest_us, 0), 0)
            self._events((t, x, y, p))
            self._newest_us = max(self._newest_us, int(t.max()))
        elif arrival.heartbeat_us is not None:
            t_us = arrival.heartbeat_us + (self._offset_us or 0)
            if t_us > max(self._newest_us, self._not_before_us):
                self._newest_us = t_us
                self._put(wire.HEARTBEAT, t_us, 0)
        if len(arrival.triggers):
            marks = arrival.triggers[np.argsort(arrival.triggers[:, 0], kind="stable")]
            times = marks[:, 0] + (self._offset_us or 0)
            if len(times) and times[0] >= 0 and times[-1] - times[0] <= _LARGEST_STEP_US:
                rows = np.empty(len(marks), [("t", "<u4"), ("channel", "<u2"), ("level", "<u2")])
                rows["t"], rows["channel"], rows["level"] = times - times[0], marks[:, 1], marks[:, 2]
                self._put(wire.EDGES, int(times[0]), len(rows), rows.tobytes())

    def _events(self, columns: Any) -> None:
        t, x, y, p = columns
        start = 0
        while start < len(t):
            stop = min(len(t), start + _FRAME_EVENTS)
            part = t[start:stop]
            breaks = np.flatnonzero((np.diff(part) < 0) | (part[1:] - part[0] > _LARGEST_STEP_US))
            if len(breaks):
                stop = start + int(breaks[0]) + 1
            packed = pack_aer64(t[start:stop], x[start:stop], y[start:stop], p[start:stop], int(t[start]))
            self._put(wire.EVENTS, int(t[start]), stop - start, packed.tobytes())
            start = stop

    def _put(self, type_: int, t_us: int, count: int, payload: bytes = b"") -> None:
        self._number += 1
        if self._number > self._skip_to:
            self._out.write(wire.build(type_, wire.AER64, self._number, t_us, count, payload))
            self._out.flush()
