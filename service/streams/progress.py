"""How far a stream has come: written by its thread, read by everyone."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a stream has come.

    Attributes:
        received: number of the last frame that its thread took.
        received_bytes: of all frames up to that one.
        durable: number of the last frame that is durable.
        lag_us: how long the last frame waited until it was worked off.
        snapshots: that were stored.
        snapshot_failures: how often one could not be.
        trouble: what holds it up; it goes on by itself.
        finished: whether all answers exist.
        failure: (code, detail) of what ended it before its end.
        digests: by output, once it has finished.
        epoch: how often it was opened.
    """

    received: int = 0
    received_bytes: int = 0
    durable: int = 0
    lag_us: int = 0
    snapshots: int = 0
    snapshot_failures: int = 0
    trouble: str | None = None
    finished: bool = False
    failure: tuple[str, str] | None = None
    digests: dict[str, str] = field(default_factory=dict[str, str])
    epoch: int = 0

    def resume(self, number: int, size: int) -> None:
        """Go on behind frame ``number``, at position ``size``; before anything runs."""
        self.received = self.durable = number
        self.received_bytes = size

    def took(self, number: int, size: int, durable: int) -> None:
        """Frames up to ``number`` were taken, ``size`` bytes; those up to ``durable`` are durable."""
        self.received = number
        self.received_bytes += size
        # Last: whoever reads meanwhile must not find frames durable that were not received.
        self.became_durable(durable)

    def became_durable(self, number: int) -> None:
        """Frames up to ``number`` are durable."""
        self.durable = max(self.durable, number)

    def processed(self, waited_s: float) -> None:
        """A frame is, which came ``waited_s`` ago."""
        self.lag_us = round(waited_s * 1e6)

    def snapshot_tried(self, stored: bool) -> None:
        """Whether a snapshot could be stored."""
        self.snapshots += stored
        self.snapshot_failures += not stored

    def held_up(self, trouble: str | None) -> None:
        """What holds it up; None where it goes on."""
        self.trouble = trouble

    def worked_out(self, digests: dict[str, str]) -> None:
        """All answers exist, under these digests; they may be told at :meth:`finish`."""
        self.digests = digests

    def finish(self) -> None:
        """All answers can be told; a stream that has failed stays so."""
        self.finished = self.failure is None

    def fail(self, code: str, detail: str) -> None:
        """It cannot go on. What has finished has not failed, and the first reason stays."""
        if not self.finished and self.failure is None:
            self.failure = code, detail
