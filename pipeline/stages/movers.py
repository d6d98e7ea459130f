"""``movers``: things that move by themselves, each with its box and its velocity, from a motion field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kernels.motion import global_motion, groups
from pipeline.packets import APERTURE, Columns, Packet
from pipeline.row_kinds import ROW_KINDS, Kind
from pipeline.stage import Arrays, Context, Port, Stage, StageConfig
from pipeline.stages.places import places

_ALIKE = 0.6
"""Tiles of one thing differ by at most this share of their speed, and so does a thing from window to window."""
_SURE = 0.3
"""Tiles that are less sure do not count."""
_LOST_AFTER = 3
"""Windows for which a thing is remembered that is not seen."""
_SLOW = 0.01
"""Disagreement, px/ms, below which a tile is as still as what is around it."""


class Movers(StageConfig):
    """One row for each thing and window of the field; t is the end of the window.

    A thing is a group of neighbouring tiles, at least ``min_tiles``, whose movement is not that of the view: with m
    the pan, tilt, zoom and rotation that fit all tiles best (:mod:`kernels.motion.global_motion`),

        |v - m| > differs max(|v|, |m|, median of |v| over all tiles)

    and tiles that saw one edge alone are compared across it. It is told from the ``windows``-th window on in which it
    is seen where its velocity brought it, and keeps its id meanwhile; ids begin anew after a gap. Its velocity is the
    mean of its tiles', as the picture shows it. Where the camera stands ``still``, m is 0.
    """

    accepts: ClassVar[Kind] = "field"
    sends: ClassVar[dict[str, Kind]] = {"": "movers"}

    kind: Literal["movers"] = "movers"
    camera: Literal["moves", "still"] = Field(
        default="moves", description="still: whatever moves is told; moves: what moves unlike the view"
    )
    differs: float = Field(default=0.5, gt=0, le=2, description="see above")
    min_tiles: int = Field(default=2, ge=1, le=4096, description="smaller groups stay silent")
    windows: int = Field(default=3, ge=1, le=1000, description="windows in a row before a thing is told")
    min_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="things whose tiles are less sure than this in the mean stay silent",
    )
    min_spread: float = Field(
        default=0.12, ge=0, le=0.3,
        description="of a camera that moves nothing is told where the tiles lie closer to a line; see global_motion",
    )  # fmt: skip

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        return _MoversStage(self, context)


Box = tuple[int, int, int, int]


@dataclass
class _Thing:
    """What was seen before.

    Attributes:
        id: its number.
        box: left, top, right, bottom, px.
        velocity: px/ms.
        seen: windows in which it was seen.
        last_us: end of the last of them.
    """

    id: int
    box: Box
    velocity: tuple[float, float]
    seen: int
    last_us: int

    def may_be(self, box: Box, velocity: tuple[float, float], t_us: int) -> bool:
        """Whether it is what is seen now: as fast, and on the way that it was on."""
        speed = max(math.hypot(*self.velocity), math.hypot(*velocity))
        if math.dist(self.velocity, velocity) > _ALIKE * speed:
            return False
        return all(
            min(low, low + v * (t_us - self.last_us) / 1000) < box[axis + 2]
            and box[axis] < max(high, high + v * (t_us - self.last_us) / 1000)
            for axis, (low, high, v) in enumerate(zip(self.box[:2], self.box[2:], self.velocity, strict=True))
        )


class _MoversStage(Stage):
    def __init__(self, config: Movers, context: Context) -> None:
        field = context.upstream
        super().__init__(
            main=Port("movers", field.width, field.height, tile=field.tile, window_us=field.window_us)
        )
        self._config, self._field = config, field
        self._things: list[_Thing] = []
        self._ids = 0

    def work(self, packet: Packet) -> list[Packet]:
        c = packet.columns
        sure = np.flatnonzero(c["confidence"] >= _SURE)
        windows, starts = np.unique(c["t"][sure], return_index=True)
        rows: list[tuple[Any, ...]] = []
        for t, part in zip(windows.tolist(), np.split(sure, starts[1:]), strict=False):
            rows += self._window(t, {name: column[part] for name, column in c.items()})
        return [Packet("movers", _columns(rows), packet.watermark_us)]

    def reset(self, packet: Packet) -> None:
        self._things, self._ids = [], 0

    def snapshot(self) -> Arrays:
        table = [(one.id, *one.box, one.seen, one.last_us) for one in self._things]
        return {
            "things": np.array(table, np.int64).reshape(-1, 7), "ids": np.array([self._ids], np.int64),
            "velocities": np.array([one.velocity for one in self._things], np.float64).reshape(-1, 2),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        self._things = [
            _Thing(id_, (left, top, right, bottom), (vx, vy), seen, last_us)
            for (id_, left, top, right, bottom, seen, last_us), (vx, vy) in zip(
                arrays["things"].tolist(), arrays["velocities"].tolist(), strict=True
            )
        ]
        self._ids = int(arrays["ids"][0])

    def _window(self, t: int, tiles: Columns) -> list[tuple[Any, ...]]:
        """Rows of one window."""
        forgotten_us = t - _LOST_AFTER * self._field.window_us
        self._things = [one for one in self._things if one.last_us >= forgotten_us]
        rows: list[tuple[Any, ...]] = []
        free = list(self._things)
        for members in self._groups(tiles):
            own = {name: column[members] for name, column in tiles.items()}
            box, (vx, vy, confidence, flags) = self._box(own), _mean(own)
            if confidence < self._config.min_confidence:
                continue
            thing = next((one for one in free if one.may_be(box, (vx, vy), t)), None)
            if thing is None:
                thing = _Thing(self._ids, box, (vx, vy), 0, t)
                self._ids += 1
                self._things.append(thing)
            else:
                free.remove(thing)
            thing.box, thing.velocity, thing.seen, thing.last_us = box, (vx, vy), thing.seen + 1, t
            if thing.seen >= self._config.windows:
                place = (box[0], box[1], box[2] - box[0], box[3] - box[1])
                rows.append((t, *place, vx, vy, confidence, flags, thing.id, len(members)))
        return rows

    def _groups(self, tiles: Columns) -> list[NDArray[np.int64]]:
        """Tiles of each thing, those of many tiles first."""
        other = np.flatnonzero(self._disagree(tiles))
        if len(other) < self._config.min_tiles:
            return []
        own = {name: column[other] for name, column in tiles.items()}
        column, row = (own[name].astype(np.int64) // self._field.tile for name in "xy")
        vx, vy = own["vx"].astype(np.float64), own["vy"].astype(np.float64)
        group = groups.groups(column, row, vx, vy, _ALIKE)
        sizes = np.bincount(group)
        order = np.argsort(-sizes, kind="stable")
        return [other[group == one] for one in order.tolist() if sizes[one] >= self._config.min_tiles]

    def _disagree(self, tiles: Columns) -> NDArray[np.bool_]:
        """Which tiles do not move as the view does."""
        vx, vy, weight = (tiles[name].astype(np.float64) for name in ("vx", "vy", "confidence"))
        mx, my = np.zeros_like(vx), np.zeros_like(vy)
        if self._config.camera == "moves":
            x, y = places(tiles, self._field)
            deviation = global_motion.spread(*(tiles[name].astype(np.float64) for name in "xy"))
            if deviation < self._config.min_spread * min(self._field.width, self._field.height):
                return np.zeros(len(vx), np.bool_)
            mx, my = global_motion.at(global_motion.fit(x, y, vx, vy, weight)[0], x, y)
        speed = np.hypot(vx, vy)
        apart = np.hypot(vx - mx, vy - my)
        across = np.abs(speed - (vx * mx + vy * my) / np.maximum(speed, 1e-9))
        apart = np.where(tiles["flags"] & APERTURE > 0, across, apart)
        usual = float(np.median(speed)) if self._config.camera == "moves" else 0.0
        fastest = np.maximum(np.maximum(speed, np.hypot(mx, my)), usual)
        return apart > np.maximum(self._config.differs * fastest, _SLOW)

    def _box(self, own: Columns) -> Box:
        tile = self._field.tile
        return (
            int(own["x"].min()), int(own["y"].min()),
            min(int(own["x"].max()) + tile, self._field.width),
            min(int(own["y"].max()) + tile, self._field.height),
        )  # fmt: skip


def _mean(own: Columns) -> tuple[float, float, float, int]:
    """vx, vy, confidence, flags of a thing: the surer a tile, the more it counts."""
    weight = own["confidence"].astype(np.float64)
    share = weight / weight.sum() if weight.sum() > 0 else np.full(len(weight), 1 / len(weight))
    vx, vy = (float((share * own[name]).sum()) for name in ("vx", "vy"))
    return vx, vy, float(weight.mean()), int(np.bitwise_or.reduce(own["flags"]))


def _columns(rows: list[tuple[Any, ...]]) -> Columns:
    names = ("t", "x", "y", "width", "height", "vx", "vy", "confidence", "flags", "id", "tiles")
    table = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return {
        name: np.array(column, ROW_KINDS["movers"].columns[name])
        for name, column in zip(names, table, strict=True)
    }
