"""``motif``: delay-based motif detection, bin by bin, where it is asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kernels.motifs import detection, history, targets
from kernels.motifs.teams import Team
from pipeline.models import registry
from pipeline.models.address_bank import AddressBank
from pipeline.models.bundle import ModelError
from pipeline.models.motif_bank import MotifBank
from pipeline.packets import AFTER_GAP, WARM_UP, Packet
from pipeline.row_kinds import Kind
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage, StageConfig
from pipeline.stages.address_motif import AddressMotifStage
from pipeline.stages.detecting import At, AtEvents, Decider, EvidenceThreshold, Threshold, motif_bytes
from pipeline.stages.teaching import Pupil, Teaching


class Motif(StageConfig):
    """Detections where a motif's delayed events coincide; port ``evidence``: every class's logit.

    A row per (bin, y, x) that was evaluated and whose winner passes the threshold; of a bank of independent
    sigmoids, a row for each class that does. t is the end of the bin. ``evidence`` has a row for each voxel
    that was evaluated. The model: :mod:`kernels.motifs.detection`. Where the model is a bank on addresses, there is
    one answer a bin, at the pixel (0, 0): :mod:`kernels.motifs.coincidence`.
    """

    sends: ClassVar[dict[str, Kind]] = {"": "detections", "evidence": "evidence"}

    kind: Literal["motif"] = "motif"
    model: str = Field(description="name of a motif bank")
    threshold: Threshold = EvidenceThreshold(evidence=0.0)
    at: At = AtEvents(every=1)
    keep: float = Field(default=1.0, gt=0, le=1, description="fraction of the weights kept, largest first")
    delays: int | None = Field(default=None, ge=1, le=64, description="only so many of the shortest delays")
    learn: Teaching | None = Field(
        default=None, description="how it learns from labels that come with the stream"
    )

    def holds_bytes(self, context: Context) -> int:
        """See :class:`pipeline.stage.StageConfig`."""
        return context.workers.threads * motif_bytes(context.upstream.width, context.upstream.height)

    def build(self, context: Context) -> Stage:
        """See :class:`pipeline.stage.StageConfig`."""
        bank = self._bank()
        if isinstance(bank, AddressBank):
            if self.at != AtEvents(every=1):
                raise ConfigMismatch(
                    "at", f"{self.model} is a bank on addresses, which has no places to choose from"
                )
            if self.learn is not None:
                raise ConfigMismatch(
                    "learn", f"{self.model} is a bank on addresses, which does not learn on streams"
                )
            return AddressMotifStage(bank, context, self.threshold, self.keep, self.delays)
        height, width = bank.weight.shape[-2:]
        if context.upstream.width < width or context.upstream.height < height:
            raise ConfigMismatch(
                "model",
                f"{self.model} looks at {width}x{height} pixels, more than the sensor's "
                f"{context.upstream.width}x{context.upstream.height}",
            )
        return _MotifStage(self, context, bank)

    def model_digests(self) -> tuple[str, ...]:
        """See :class:`pipeline.stage.StageConfig`."""
        return (self._bank().digest,)

    def _bank(self) -> registry.Bank:
        try:
            return registry.load_bank(self.model)
        except ModelError as problem:
            raise ConfigMismatch("model", str(problem)) from problem


@lru_cache(maxsize=16)
def _taps(bank: MotifBank, keep: float, delays: int | None) -> detection.Taps:
    """Streams share what a bank looks like to the kernel."""
    return bank.taps(keep, delays)


class _MotifStage(Stage):
    has_stride = True

    def __init__(self, config: Motif, context: Context, bank: MotifBank) -> None:
        width, height = context.upstream.width, context.upstream.height
        grid = (width, height, bank.card.labels, 1, bank.card.bin_us)
        super().__init__(main=Port("detections", *grid), evidence=Port("evidence", *grid))
        self._wanted, self._where = context.wanted, config.at.where()
        self._bin_us, self._scale = bank.card.bin_us, bank.card.scale
        self._taps = _taps(bank, config.keep, config.delays)
        self._decider = Decider(bank.card, config.threshold)
        self._all = "evidence" in self._wanted or ("" in self._wanted and self._decider.needs_evidence)
        self._workers = context.workers
        self._team = Team(width, height, self._taps, context.workers.threads)
        self._config = config
        self._pupil = Pupil(config.learn, bank, width, height) if config.learn else None
        self._after_gap = False
        self._watermark_us = 0

    def work(self, packet: Packet) -> list[Packet]:
        bin_us = self._bin_us
        # The rows of the first bin that is still open are the earliest that can come.
        self._watermark_us = (packet.watermark_us // bin_us + 1) * bin_us
        if self._pupil:
            c = packet.columns
            self._pupil.remember((c["t"], c["x"], c["y"], c["p"]))
        return self._close(packet, packet.watermark_us // bin_us)

    def flush(self) -> list[Packet]:
        none = np.empty(0, np.uint16)
        columns = {"t": np.empty(0, np.int64), "x": none, "y": none, "p": np.empty(0, np.bool_)}
        return self._close(Packet("events", columns, 0), 2**60)

    def reset(self, packet: Packet) -> None:
        self._team.forget()
        self._decider.forget()
        if self._pupil:
            self._pupil.forget_events()
        self._after_gap = True

    def teach(self, label: str | None, from_us: int, to_us: int) -> bool:
        if self._pupil is None or not self._pupil.teach(label, from_us, to_us):
            return False
        self._taps = self._pupil.taps(self._config.keep, self._config.delays)
        self._team.rebuild()  # only banks that fit are listed
        return True

    def set_stride(self, stride: int) -> None:
        self._where = targets.sparser(self._config.at.where(), stride)

    def snapshot(self) -> Arrays:
        return {
            **self._team.saved(), "level": self._decider.level.copy(),
            "state": np.array([self._after_gap, self._watermark_us], np.int64),
            **({f"pupil_{name}": array for name, array in self._pupil.snapshot().items()} if self._pupil else {}),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        self._team.load(arrays)
        self._decider.level[:] = arrays["level"]
        self._after_gap, self._watermark_us = bool(arrays["state"][0]), int(arrays["state"][1])
        if self._pupil:
            self._pupil.restore(
                {name[6:]: array for name, array in arrays.items() if name.startswith("pupil_")}
            )
            self._taps = self._pupil.taps(self._config.keep, self._config.delays)

    def _close(self, packet: Packet, until_bin: int) -> list[Packet]:
        c = packet.columns
        found = self._team.advance(
            c["t"], c["x"], c["y"], c["p"], self._taps, self._bin_us, until_bin, self._all, self._where,
            self._workers.run,
        )  # fmt: skip
        flags = self._flags_of(found)
        out: list[Packet] = []
        if "" in self._wanted:
            out.append(Packet("detections", self._decider.detections(found, flags), self._watermark_us))
        if "evidence" in self._wanted:
            columns = {
                "t": (found.bin + 1) * self._bin_us, "x": found.x, "y": found.y,
                "evidence": found.evidence * np.float32(self._scale), "flags": flags,
            }  # fmt: skip
            out.append(Packet("evidence", columns, self._watermark_us, port="evidence"))
        return out

    def _flags_of(self, found: detection.Found) -> NDArray[np.uint16]:
        early = found.bin - self._team.first.bins[history.START] < self._taps.delays - 1
        mark = WARM_UP | (AFTER_GAP if self._after_gap else 0)
        return np.where(early, mark, 0).astype(np.uint16)
