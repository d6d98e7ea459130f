"""What a report says of a stream, gathered while it flows, in memory that does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.packets import AFTER_GAP, APERTURE, EARLY, UNRELIABLE, WARM_UP, Columns, Events
from pipeline.row_kinds import Kind
from pipeline.sensor import Sensor
from pipeline.stage import Port

FLAG_NAMES = {
    WARM_UP: "warm_up",
    AFTER_GAP: "after_gap",
    UNRELIABLE: "unreliable",
    EARLY: "early",
    APERTURE: "aperture",
}


class Timeline:
    """Sums over time on a grid that coarsens itself: bin k of width w covers [k w, (k + 1) w).

    The width is the smallest width_us * 2^n for which the time spanned so far fits into ``bins``, so it
    depends on what was added and not on the order or the portions.

    Args:
        bins: how many bins there are at most.
        shape: what is summed per bin.
        width_us: the finest width.
    """

    def __init__(self, bins: int, shape: tuple[int, ...], width_us: int = 1000) -> None:
        self.width_us = width_us
        self._bins = bins
        self._sums = np.zeros((bins, *shape))
        self._first: int | None = None
        self._last = 0

    def add(self, t: NDArray[np.int64], where: tuple[NDArray[Any], ...], amount: Any = 1) -> None:
        """Add ``amount`` (per row or one for all) at the times ``t`` and the indices ``where``."""
        if len(t) == 0:
            return
        self._make_room(int(t.min()), int(t.max()))
        bin_ = t // self.width_us - (self._first or 0)
        index = np.ravel_multi_index((bin_, *where), self._sums.shape)
        weights = np.broadcast_to(np.asarray(amount, np.float64), index.shape)
        self._sums += np.bincount(index, weights, self._sums.size).reshape(self._sums.shape)

    @property
    def start_us(self) -> int:
        """Start of the first bin."""
        return (self._first or 0) * self.width_us

    @property
    def sums(self) -> NDArray[np.float64]:
        """[bins in use, *shape]."""
        return self._sums[: 0 if self._first is None else self._last - self._first + 1]

    @property
    def edges_us(self) -> NDArray[np.int64]:
        """Bin edges [bins in use + 1]."""
        return self.start_us + np.arange(len(self.sums) + 1, dtype=np.int64) * self.width_us

    def _make_room(self, earliest: int, latest: int) -> None:
        first, last = earliest // self.width_us, latest // self.width_us
        if self._first is not None:
            first, last = min(first, self._first), max(last, self._last)
        while last - first >= self._bins:
            self._coarsen()
            first, last = first // 2, last // 2
        if self._first is not None and first < self._first:
            shift = self._first - first
            self._sums[shift:] = self._sums[: self._bins - shift].copy()
            self._sums[:shift] = 0
        self._first, self._last = first, last

    def _coarsen(self) -> None:
        self.width_us *= 2
        if self._first is None:
            return
        held, first = self.sums.copy(), self._first
        self._sums[:] = 0
        np.add.at(self._sums, (first + np.arange(len(held))) // 2 - first // 2, held)
        self._first, self._last = first // 2, self._last // 2


class EventStatistics:
    """How many events there were, when, and where."""

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self.events = 0
        self.on = 0
        self.t_first_us: int | None = None
        self.t_last_us: int | None = None
        self.timeline = Timeline(400, (2,))
        self.image = np.zeros((sensor.height, sensor.width), np.int64)

    def add(self, events: Events) -> None:
        """Take in events; those outside the sensor are not counted."""
        t, x, y, p = events
        inside = (x < self.sensor.width) & (y < self.sensor.height)
        if not inside.all():
            t, x, y, p = t[inside], x[inside], y[inside], p[inside]
        if len(t) == 0:
            return
        self.events += len(t)
        self.on += int(np.count_nonzero(p))
        first, last = int(t.min()), int(t.max())
        self.t_first_us = first if self.t_first_us is None else min(first, self.t_first_us)
        self.t_last_us = last if self.t_last_us is None else max(last, self.t_last_us)
        self.timeline.add(t, (p.astype(np.int64),))
        index = y.astype(np.int64) * self.sensor.width + x
        self.image += np.bincount(index, minlength=self.image.size).reshape(self.image.shape)

    @property
    def duration_us(self) -> int:
        """From the first to the last event."""
        return (self.t_last_us or 0) - (self.t_first_us or 0)


class DetectionStatistics:
    """Detections by label, over time, and by flag."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.by_label = np.zeros(max(1, len(port.labels)), np.int64)
        self.flags = dict.fromkeys(FLAG_NAMES.values(), 0)
        self.timeline = Timeline(200, (len(self.by_label),))

    def add(self, columns: Columns) -> None:
        """Take in rows."""
        label = columns["label"].astype(np.int64)
        self.by_label += np.bincount(label, minlength=len(self.by_label))
        # A row at the end of a bin belongs to the time before it.
        self.timeline.add(columns["t"] - 1, (label,))
        count_flags(self.flags, columns["flags"])


class FieldStatistics:
    """The motion field, summed per tile over slices of time."""

    SLICES = 12

    def __init__(self, port: Port) -> None:
        self.port, tile, window_us = port, port.tile, port.window_us
        self.tile = tile
        self.rows, self.columns = -(-port.height // tile), -(-port.width // tile)
        self.flags = dict.fromkeys(FLAG_NAMES.values(), 0)
        # No finer than the field itself, or every other bin would be empty.
        self.mean = Timeline(300, (3,), window_us)
        self.slices = Timeline(self.SLICES, (self.rows * self.columns, 4), window_us)
        self.told = 0
        self._sums = np.zeros(4)
        """Of confidence, and confidence times vx, vy and speed."""

    def add(self, columns: Columns) -> None:
        """Take in rows."""
        weight = columns["confidence"].astype(np.float64)
        vx, vy = columns["vx"].astype(np.float64), columns["vy"].astype(np.float64)
        self._sums += [weight.sum(), weight @ vx, weight @ vy, weight @ np.hypot(vx, vy)]
        tile = (columns["y"].astype(np.int64) // self.tile) * self.columns + columns["x"] // self.tile
        for i, amount in enumerate((weight * columns["vx"], weight * columns["vy"], weight)):
            channel = np.full(len(tile), i)
            self.mean.add(columns["t"] - 1, (channel,), amount)
            self.slices.add(columns["t"] - 1, (tile, channel), amount)
        self.slices.add(columns["t"] - 1, (tile, np.full(len(tile), 3)))
        self.told += len(tile)
        count_flags(self.flags, columns["flags"])

    def means(self) -> dict[str, float | None]:
        """Velocity and speed of all rows, px/ms, each weighted by its confidence; None where there is nothing."""
        weight, *sums = self._sums
        return dict(
            zip(
                ("vx", "vy", "speed"),
                (round(float(one / weight), 6) if weight > 0 else None for one in sums),
                strict=True,
            )
        )


class MotionStatistics:
    """The movement of the whole view over time, each row weighted by its confidence."""

    COLUMNS = ("vx", "vy", "zoom", "rotation")

    def __init__(self, port: Port) -> None:
        self.port = port
        self.rows = 0
        self.flags = dict.fromkeys(FLAG_NAMES.values(), 0)
        self.mean = Timeline(300, (len(self.COLUMNS) + 1,), port.window_us)

    def add(self, columns: Columns) -> None:
        """Take in rows."""
        weight = columns["confidence"].astype(np.float64)
        amounts = [*(weight * columns[name] for name in self.COLUMNS), weight]
        for i, amount in enumerate(amounts):
            self.mean.add(columns["t"] - 1, (np.full(len(weight), i),), amount)
        self.rows += len(weight)
        count_flags(self.flags, columns["flags"])


class MoverStatistics:
    """Things that moved by themselves: the first of their rows."""

    KEPT = 20_000

    def __init__(self, port: Port) -> None:
        self.port = port
        self.rows = 0
        self.flags = dict.fromkeys(FLAG_NAMES.values(), 0)
        self._parts: list[Columns] = []

    def first(self, name: str) -> NDArray[Any]:
        """A column of the first :attr:`KEPT`."""
        return np.concatenate([part[name] for part in self._parts])

    def add(self, columns: Columns) -> None:
        """Take in rows."""
        room = self.KEPT - self.rows
        if room > 0:
            self._parts.append({name: column[:room] for name, column in columns.items()})
        self.rows += len(columns["t"])
        count_flags(self.flags, columns["flags"])


class DecisionStatistics:
    """Decisions by label, and the first of them one by one."""

    KEPT = 5000

    def __init__(self, port: Port) -> None:
        self.port = port
        self.by_label = np.zeros(max(1, len(port.labels)), np.int64)
        self.flags = dict.fromkeys(FLAG_NAMES.values(), 0)
        self._parts: list[Columns] = []
        self._kept = 0

    @property
    def rows(self) -> int:
        """How many there were."""
        return int(self.by_label.sum())

    def first(self, name: str) -> NDArray[Any]:
        """A column of the first :attr:`KEPT`."""
        return np.concatenate([part[name] for part in self._parts])

    def add(self, columns: Columns) -> None:
        """Take in rows."""
        self.by_label += np.bincount(columns["label"].astype(np.int64), minlength=len(self.by_label))
        count_flags(self.flags, columns["flags"])
        room = self.KEPT - self._kept
        if room > 0:
            self._parts.append({name: column[:room] for name, column in columns.items()})
            self._kept += min(room, len(columns["t"]))


@dataclass
class MeanField:
    """Confidence-weighted mean velocity, px/ms, NaN where nothing was seen, and the sum of confidences."""

    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    weight: NDArray[np.float64]


def mean_field(sums: NDArray[np.float64]) -> MeanField:
    """The mean over sums [..., 3 or more] of (weight vx, weight vy, weight)."""
    weight = sums[..., 2]
    some = np.where(weight > 0, weight, np.nan)
    return MeanField(sums[..., 0] / some, sums[..., 1] / some, weight)


def count_flags(counts: dict[str, int], flags: NDArray[Any]) -> None:
    """Add how many rows carry each flag."""
    for bit, name in FLAG_NAMES.items():
        counts[name] += int(np.count_nonzero(flags & flags.dtype.type(bit)))


Statistics = DetectionStatistics | FieldStatistics | MotionStatistics | MoverStatistics | DecisionStatistics
_OF_KIND: dict[Kind, type[Statistics]] = {
    "detections": DetectionStatistics, "field": FieldStatistics, "motion": MotionStatistics,
    "movers": MoverStatistics, "decisions": DecisionStatistics,
}  # fmt: skip


def statistics(port: Port) -> Statistics | None:
    """What gathers the rows of a port; None where a report says nothing of their kind."""
    made = _OF_KIND.get(port.kind)
    return made(port) if made else None
