"""Snapshots of one stream: taken between two frames, kept for the next start, packed for whoever asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.intake import Intake
from service.storage.ports import StreamStore
from service.storage.records import Snapshot
from service.streams.durability import Durability
from service.streams.progress import Progress
from service.streams.row_store import RowStore


class Checkpoints:
    """Takes a stream's state; all methods are for its thread, between two frames, or before that is started.

    Args:
        card: what every snapshot says of the stream: its request, and the fingerprint of its graph.
        store: where they are kept.
        intake: of the stream.
        progress: of the stream.
        outputs: a row store each.
        durability: of the stream: its recording, where it has one.
    """

    def __init__(
        self, card: dict[str, Any], store: StreamStore, intake: Intake, progress: Progress,
        outputs: dict[str, RowStore], durability: Durability,
    ) -> None:  # fmt: skip
        self._card, self._store, self._intake, self._progress = card, store, intake, progress
        self._outputs, self._durability = outputs, durability

    def take(self) -> Snapshot:
        """The state of now."""
        recording = self._durability.recording
        card: dict[str, Any] = {
            **self._card, "received_bytes": self._progress.received_bytes,
            "feeds": {name: store.snapshot() for name, store in self._outputs.items()},
            "recorded": recording.size if recording else 0,
            "recording_on": self._durability.recording_on,
            "left_out": recording.left_out if recording else 0,
        }  # fmt: skip
        return Snapshot(self._progress.received, card, self._intake.snapshot())

    def keep(self) -> int:
        """Store the state of now, to go on from; the number of the snapshot before it."""
        return self._keep(self.take())

    def keep_first(self, snapshot: Snapshot) -> None:
        """Keep a snapshot that came from elsewhere as the stream's own: without the other's rows."""
        own = self.take().card
        card = {**snapshot.card, **{name: own[name] for name in ("feeds", "recorded", "left_out")}}
        self._keep(replace(snapshot, card=card))

    def packed(self) -> tuple[int, bytes]:
        """(number of the last frame in it, the state of now as one signed file)."""
        snapshot = self.take()
        return snapshot.number, self._store.packed(snapshot)

    def _keep(self, snapshot: Snapshot) -> int:
        files = [store.file for store in self._outputs.values()]
        return self._store.checkpoint(snapshot, files, self._durability.recording)
