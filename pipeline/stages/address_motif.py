"""The ``motif`` stage where its model is a bank on addresses: a row a bin, at the pixel (0, 0)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.motifs import coincidence
from kernels.motifs.detection import Found
from pipeline.models.address_bank import AddressBank
from pipeline.packets import AFTER_GAP, WARM_UP, Events, Packet, no_events
from pipeline.stage import Arrays, ConfigMismatch, Context, Port, Stage
from pipeline.stages.detecting import Decider, Threshold


class AddressMotifStage(Stage):
    """Detections in every bin of whose window any holds an event.

    Args:
        bank: the model.
        context: what it reads, and what is read of it.
        threshold: which detections are rows.
        keep: fraction of the weights kept.
        delays: only so many of the shortest delays.

    Raises:
        ConfigMismatch: the bank is for another sensor.
    """

    def __init__(
        self, bank: AddressBank, context: Context, threshold: Threshold, keep: float, delays: int | None
    ) -> None:
        card, above = bank.card, context.upstream
        if (above.width, above.height) != (card.width, card.height):
            raise ConfigMismatch(
                "model",
                f"{card.name} is for {card.width}x{card.height} pixels, not {above.width}x{above.height}",
            )
        grid = (above.width, above.height, card.labels, 1, card.bin_us)
        super().__init__(main=Port("detections", *grid), evidence=Port("evidence", *grid))
        self._card, self._wanted = card, context.wanted
        self._synapses = bank.synapses(keep, delays)
        self._arrivals = coincidence.new_arrivals(self._synapses)
        self._decider = Decider(card, threshold)
        self._after_gap = False
        self._watermark_us = 0
        self._seen_bin = coincidence.NO_BIN

    def work(self, packet: Packet) -> list[Packet]:
        """See :class:`pipeline.stage.Stage`."""
        bin_us = self._card.bin_us
        self._seen_bin = packet.watermark_us // bin_us
        # The rows of the first bin that is still open are the earliest that can come.
        self._watermark_us = (self._seen_bin + 1) * bin_us
        c = packet.columns
        return self._close((c["t"], c["x"], c["y"], c["p"]), self._seen_bin)

    def flush(self) -> list[Packet]:
        """See :class:`pipeline.stage.Stage`."""
        last = int(self._arrivals.bins[coincidence.LAST])
        return self._close(no_events(), max(last, self._seen_bin) + 1)

    def reset(self, packet: Packet) -> None:
        """See :class:`pipeline.stage.Stage`."""
        coincidence.forget(self._arrivals)
        self._decider.forget()
        self._after_gap = True

    def snapshot(self) -> Arrays:
        """See :class:`pipeline.stage.Stage`."""
        a = self._arrivals
        return {
            "bits": a.bits.copy(), "stamp": a.stamp.copy(), "recent": a.recent.copy(), "ring": a.ring.copy(),
            "bins": a.bins.copy(), "level": self._decider.level.copy(),
            "state": np.array([self._after_gap, self._watermark_us, self._seen_bin], np.int64),
        }  # fmt: skip

    def restore(self, arrays: Arrays) -> None:
        """See :class:`pipeline.stage.Stage`."""
        a = self._arrivals
        for name, array in (("bits", a.bits), ("stamp", a.stamp), ("recent", a.recent), ("ring", a.ring),
                            ("bins", a.bins), ("level", self._decider.level)):  # fmt: skip
            array[:] = arrays[name]
        self._after_gap = bool(arrays["state"][0])
        self._watermark_us, self._seen_bin = int(arrays["state"][1]), int(arrays["state"][2])

    def _close(self, events: Events, until_bin: int) -> list[Packet]:
        t, x, y, p = events
        address = self._card.of_events(x, y, p)
        found = coincidence.advance(t, address, self._arrivals, self._synapses, self._card.bin_us, until_bin)
        flags = self._flags_of(found)
        out: list[Packet] = []
        if "" in self._wanted:
            out.append(Packet("detections", self._decider.detections(found, flags), self._watermark_us))
        if "evidence" in self._wanted:
            columns = {
                "t": (found.bin + 1) * self._card.bin_us, "x": found.x, "y": found.y,
                "evidence": found.evidence * np.float32(self._card.scale), "flags": flags,
            }  # fmt: skip
            out.append(Packet("evidence", columns, self._watermark_us, port="evidence"))
        return out

    def _flags_of(self, found: Found) -> NDArray[np.uint16]:
        early = found.bin - self._arrivals.bins[coincidence.BEGUN] < self._synapses.delays - 1
        mark = WARM_UP | (AFTER_GAP if self._after_gap else 0)
        return np.where(early, mark, 0).astype(np.uint16)
