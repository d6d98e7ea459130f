"""A bank that goes on learning on a live stream, from labels that come with it.

A label says what was seen in a span of stream time. Some voxels of the span are learned from, by a few steps
of softmax regression (Grimaldi & Perrinet, Biological Cybernetics 2023) on a copy of the weights; bins that
close later are evaluated with the new ones. No label can change a weight by more than ``largest_step``, and
the bank as it was loaded is always there to go back to. What is learned depends on the order of events and
labels in the stream, and on nothing else.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kernels.columns import I64
from kernels.learning import regression
from kernels.motifs import detection
from pipeline import packets
from pipeline.models.motif_bank import MotifBank, Weights
from pipeline.packets import Events
from pipeline.stage import Arrays

_ROUNDS = 5
_LARGEST = 32767


class Teaching(BaseModel):
    """How a bank learns from labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(default=1.0, gt=0, le=100, description="of the gradient's steps")
    largest_step: float = Field(
        default=0.05, gt=0, le=10, description="most that a label changes any weight, logits"
    )
    memory_us: int = Field(
        default=200_000, ge=1000, le=10_000_000, description="labels may be of the last so many us"
    )
    voxels: int = Field(default=256, ge=1, le=65536, description="most that a label teaches from")


class Pupil:
    """The weights of a bank that learns, and the events that labels may speak of.

    Attributes:
        taught: labels that were learned from since the bank was as loaded.
    """

    def __init__(self, config: Teaching, bank: MotifBank, width: int, height: int) -> None:
        self._config, self._bank = config, bank
        self._size = width, height
        self._weight, self._bias = bank.weight, bank.bias
        self._events = packets.no_events()
        self.taught = 0

    def remember(self, events: Events) -> None:
        """Keep events that a later label may speak of."""
        joined = packets.join([self._events, events])
        if len(joined[0]):
            delays = self._bank.weight.shape[2]
            oldest = int(joined[0][-1]) - self._config.memory_us - delays * self._bank.card.bin_us
            joined = packets.cut(joined, int(np.searchsorted(joined[0], oldest)), len(joined[0]))
        self._events = joined

    def forget_events(self) -> None:
        """After a gap, what was before it is of no use."""
        self._events = packets.no_events()

    def teach(self, label: str | None, from_us: int, to_us: int) -> bool:
        """Learn that ``label`` was seen in (from_us, to_us], or go back to the bank as loaded where it is None.

        Returns:
            Whether there was anything to learn.
        """
        if label is None:
            changed = self.taught > 0
            self._weight, self._bias, self.taught = self._bank.weight, self._bank.bias, 0
            return changed
        names = [one.name for one in self._bank.card.labels]
        if label not in names:
            return False
        voxels = self._voxels(from_us, to_us)
        if len(voxels) == 0:
            return False
        self._learn(voxels, names.index(label))
        self.taught += 1
        return True

    def taps(self, keep: float, delays: int | None) -> detection.Taps:
        """The bank as it is now."""
        return MotifBank(self._bank.card, self._weight, self._bias, "").taps(keep, delays)

    def snapshot(self) -> Arrays:
        """What was learned, and the events that are remembered."""
        t, x, y, p = (column.copy() for column in self._events)
        learned: Arrays = {"weight": self._weight, "bias": self._bias} if self.taught else {}
        return {"t": t, "x": x, "y": y, "p": p, "taught": np.array([self.taught], np.int64), **learned}

    def restore(self, arrays: Arrays) -> None:
        """Go on from a snapshot."""
        self._events = arrays["t"], arrays["x"], arrays["y"], arrays["p"]
        self.taught = int(arrays["taught"][0])
        self._weight = arrays["weight"] if self.taught else self._bank.weight
        self._bias = arrays["bias"] if self.taught else self._bank.bias

    def _voxels(self, from_us: int, to_us: int) -> I64:
        """(bin, y, x) of events in bins that end in the span; every n-th, so that there are not too many."""
        t, x, y, _ = self._events
        bin_us = self._bank.card.bin_us
        first, last = from_us // bin_us, to_us // bin_us
        a, b = np.searchsorted(t, [first * bin_us, last * bin_us])
        voxels = np.stack([t[a:b] // bin_us, y[a:b].astype(np.int64), x[a:b].astype(np.int64)], axis=1)
        voxels = np.unique(voxels, axis=0)
        return voxels[:: max(1, -(-len(voxels) // self._config.voxels))]

    def _learn(self, voxels: I64, truth: int) -> None:
        config, card = self._config, self._bank.card
        classes, _, delays, height, width = self._weight.shape
        inputs = regression.gather_events(*self._events, voxels, height, width, delays, card.bin_us)
        start = self._weight.transpose(3, 4, 2, 1, 0).reshape(-1, classes) * np.float32(card.scale)
        weight, bias = start.copy(), self._bias * np.float32(card.scale)
        bias_start, slope = bias.copy(), np.empty_like(weight)
        for _ in range(_ROUNDS):
            scores, swapped = regression.logits(inputs, weight, bias, card.contrast_flip)
            share = np.exp(scores - scores.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            share[:, truth] -= 1
            share /= np.float32(len(voxels))
            regression.gradient(inputs, share, swapped, slope)
            weight -= np.float32(config.rate / _ROUNDS) * slope
            bias -= np.float32(config.rate / _ROUNDS) * share.sum(axis=0)
            np.clip(weight, start - config.largest_step, start + config.largest_step, out=weight)
            np.clip(bias, bias_start - config.largest_step, bias_start + config.largest_step, out=bias)
        whole = np.rint(weight / np.float32(card.scale))
        np.clip(whole, -_LARGEST, _LARGEST, out=whole)
        self._weight = self._exact(whole.reshape(height, width, delays, 2, classes).transpose(4, 3, 2, 0, 1))
        self._bias = np.rint(bias / np.float32(card.scale)).astype(np.float32)

    def _exact(self, weight: Weights) -> Weights:
        """Sums must stay exact: a class that would grow beyond 2^24 stays as it is."""
        largest = np.abs(weight).sum(axis=(1, 2, 3, 4), dtype=np.float64) + np.abs(self._bias)
        grown = largest >= 2**24 - 2**20
        return np.ascontiguousarray(
            np.where(grown[:, None, None, None, None], self._weight, weight), np.float32
        )
