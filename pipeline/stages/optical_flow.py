"""``optical_flow``: where each tile moves, how fast and how surely, over the full range of speeds."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kernels.columns import XY, P, T
from kernels.filters import NEVER
from kernels.motifs import tile_evidence
from kernels.motion import flow
from pipeline.models import registry
from pipeline.models.bundle import ModelError
from pipeline.models.flow_readout import FlowReadout
from pipeline.models.motif_bank import MotifBank
from pipeline.packets import AFTER_GAP, APERTURE, WARM_UP, Columns, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig

_WIDE, _NARROW = 0.25, 0.5
"""An aperture: the velocity is unsure by this share of it along one line, and by at most half of that across it."""
_MOST = ((8000, 4), (4000, 6), (2000, 8), (0, 12))
"""(shortest bin, us; answers of such a scale in a tile and window): what comes behind says the same again."""
_WORTH_A_THREAD = 500
"""Events for which it pays to wake another thread."""


class OpticalFlow(StageConfig):
    """One row per tile and window with enough events: its velocity, px/ms; t is the end of the window.

    A bank of motifs is evaluated at several bin widths, which together see 0.02 to 3 px/ms; its evidence is summed
    per tile, read as a posterior over directions and speeds, and joined with the last windows and with neighbours
    that agree. Confidence c is the share of such rows that are within 15 degrees and 20 % of speed, measured on
    scenes that the readout did not learn from. ``aperture``: only one orientation was seen, so that the movement
    along it is unknown. The equations: :mod:`kernels.motifs.tile_evidence`, :mod:`kernels.motion.flow`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "field"}

    kind: Literal["optical_flow"] = "optical_flow"
    model: str = Field(default="flow36", description="name of a readout; it names its motif bank")
    every: int = Field(
        default=8, ge=1, le=1000, description="the bank is asked at the pixel of one of so many events"
    )
    min_events: int = Field(default=10, ge=1, description="tiles with fewer events in a window stay silent")
    min_confidence: float = Field(default=0.0, ge=0, le=1, description="tiles that are less sure stay silent")

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        grid, model = context.upstream, self._readout()
        card = model.card
        tiles = -(-grid.width // card.tile) * -(-grid.height // card.tile)
        a_tile = 8 * len(card.bins_us) * (len(model.angle) + 1) + 4 * len(model.bias) * len(card.labels) + 40
        return tiles * a_tile + 12 * len(card.bins_us) * (grid.width + 32) * (grid.height + 32)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        model = self._readout()
        return _OpticalFlowStage(self, context, model, self._bank(model))

    def model_digests(self) -> tuple[str, ...]:
        """See :class:`pipeline.stage.StageConfig`."""
        model = self._readout()
        return (model.digest, model.card.bank_digest)

    def _readout(self) -> FlowReadout:
        try:
            return registry.load_readout(self.model)
        except ModelError as problem:
            raise ConfigMismatch("model", str(problem)) from problem

    def _bank(self, model: FlowReadout) -> MotifBank:
        try:
            bank = registry.load_bank(model.card.bank)
        except ModelError as problem:
            raise ConfigMismatch("model", str(problem)) from problem
        if bank.digest != model.card.bank_digest or not isinstance(bank, MotifBank):
            raise ConfigMismatch(
                "model", f"{self.model} reads another {model.card.bank} than the one that is here"
            )
        if len(model.angle) != len(bank.card.labels):
            raise ConfigMismatch(
                "model", f"{self.model} reads {len(model.angle)} classes; {model.card.bank} has others"
            )
        if not bank.taps().short.usable:
            raise ConfigMismatch(
                "model", f"{model.card.bank} is too large, or its weights are, for sums over tiles"
            )
        return bank


class _OpticalFlowStage(Stage):
    has_stride = True

    def __init__(self, config: OpticalFlow, context: Context, model: FlowReadout, bank: MotifBank) -> None:
        grid, card = context.upstream, model.card
        port = Port("field", grid.width, grid.height, tile=card.tile, window_us=card.window_us)
        super().__init__(main=port)
        self._config, self._model, self._readout = config, model, model.readout(bank.card.scale)
        self._workers = context.workers
        self._tile, self._window_us = card.tile, card.window_us
        self._across = -(-grid.width // card.tile)
        tiles = self._across * -(-grid.height // card.tile)
        taps = bank.taps()
        self._scales = tile_evidence.new_scales(
            grid.width, grid.height, taps, card.bins_us, config.every, card.tile,
            [next(most for shortest_us, most in _MOST if bin_us >= shortest_us) for bin_us in card.bins_us],
            context.workers.threads,
        )  # fmt: skip
        self._belief = flow.new_belief(tiles, len(model.bias) * len(card.labels))
        self._events = np.zeros(tiles, np.int64)
        self._window, self._after_gap = NEVER, False

    def work(self, packet: Packet) -> list[Packet]:
        c, at, closed = packet.columns, 0, list[Columns]()
        t, until_us = c["t"], packet.watermark_us
        if self._window == NEVER and len(t):
            self._window = int(t[0]) // self._window_us
        while self._window != NEVER and (end_us := (self._window + 1) * self._window_us) <= until_us:
            stop = int(np.searchsorted(t, end_us))
            self._take(c, at, stop, end_us)
            at = stop
            closed.append(self._close())
            if at == len(t) or int(t[at]) >= end_us + self._window_us:
                self._skip_to((int(t[at]) if at < len(t) else until_us) // self._window_us)
        self._take(c, at, len(t), until_us)
        return [self._packet(closed, until_us)]

    def flush(self) -> list[Packet]:
        closed = list[Columns]()
        if self._window != NEVER:
            none = {"t": np.empty(0, np.int64), "x": np.empty(0, np.uint16), "p": np.empty(0, np.bool_)}
            self._take({**none, "y": none["x"]}, 0, 0, (self._window + 1) * self._window_us)
            closed.append(self._close())
        return [self._packet(closed, 0)]

    def reset(self, packet: Packet) -> None:
        tile_evidence.forget(self._scales)
        self._events[:] = 0
        self._belief = flow.new_belief(*self._belief.logs.shape)
        self._window, self._after_gap = NEVER, True

    def set_stride(self, stride: int) -> None:
        self._scales.every = self._config.every * stride

    def snapshot(self) -> Arrays:
        belief = {name: array.copy() for name, array in self._belief._asdict().items()}
        state = np.array([self._window, self._after_gap], np.int64)
        return {**tile_evidence.saved(self._scales), **belief, "events": self._events.copy(), "state": state}

    def restore(self, arrays: Arrays) -> None:
        tile_evidence.load(self._scales, arrays)
        for name, array in self._belief._asdict().items():
            array[:] = arrays[name]
        self._events[:] = arrays["events"]
        self._window, self._after_gap = int(arrays["state"][0]), bool(arrays["state"][1])

    def _take(self, c: Columns, start: int, stop: int, until_us: int) -> None:
        """Events of the open window, and every bin that ends by ``until_us``."""
        t, x, y, p = (c[name][start:stop] for name in "txyp")
        self._each_scale(t, x, y, p, until_us)
        flow.count(x, y, self._tile, self._across, self._events)

    def _each_scale(self, t: T, x: XY, y: XY, p: P, until_us: int) -> None:
        """Scales know nothing of each other: each may have a thread."""

        threads = min(self._workers.threads, len(self._scales)) if len(t) >= _WORTH_A_THREAD else 1
        if threads == 1:
            tile_evidence.advance(self._scales, t, x, y, p, until_us)
            return
        tile_evidence.reserve(self._scales, len(t))
        part = partial(tile_evidence.advance, self._scales, t, x, y, p, until_us)
        self._workers.run([partial(part, k, threads) for k in range(threads)])

    def _close(self) -> Columns:
        """The rows of the open window; the next one opens."""
        end_us = (self._window + 1) * self._window_us
        found = flow.advance(
            self._scales.sums,
            self._scales.rows,
            self._scales.added,
            self._events,
            self._config.min_events,
            self._belief,
            self._readout,
            self._across,
        )
        confidence = self._model.confidence(found.mass)
        kept = confidence >= self._config.min_confidence
        early = WARM_UP | (AFTER_GAP if self._after_gap else 0) if not self._scales.is_warm else 0
        narrow = (found.spread[:, 1] > _WIDE) & (found.spread[:, 0] < _NARROW * found.spread[:, 1])
        flags = early | np.where(narrow, APERTURE, 0).astype(np.uint32)
        self._forget_window()
        self._window += 1
        n = int(np.count_nonzero(kept))
        return {
            "t": np.full(n, end_us, np.int64),
            "x": (found.tile[kept] % self._across * self._tile).astype(np.uint16),
            "y": (found.tile[kept] // self._across * self._tile).astype(np.uint16),
            "vx": found.vx[kept].astype(np.float32), "vy": found.vy[kept].astype(np.float32),
            "confidence": confidence[kept].astype(np.float32), "flags": flags[kept].astype(np.uint32),
            "place": found.centre[kept] * self._tile + (self._tile - 1) / 2,
        }  # fmt: skip

    def _skip_to(self, window: int) -> None:
        """Windows without events say nothing, and what is known fades meanwhile."""
        skipped = window - self._window
        if skipped <= 0:
            return
        nothing = np.empty(0, np.uint16)
        self._each_scale(np.empty(0, np.int64), nothing, nothing, nothing > 0, window * self._window_us)
        self._forget_window()
        flow.fade(self._belief, skipped)
        self._window = window

    def _forget_window(self) -> None:
        tile_evidence.empty(self._scales)
        self._events[:] = 0

    def _packet(self, closed: list[Columns], until_us: int) -> Packet:
        parts = closed or [_NOTHING]
        columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Packet("field", columns, (until_us // self._window_us + 1) * self._window_us)


_NOTHING: Columns = {
    "t": np.empty(0, np.int64), "x": np.empty(0, np.uint16), "y": np.empty(0, np.uint16),
    "vx": np.empty(0, np.float32), "vy": np.empty(0, np.float32), "confidence": np.empty(0, np.float32),
    "flags": np.empty(0, np.uint32), "place": np.empty((0, 2), np.float64),
}  # fmt: skip
