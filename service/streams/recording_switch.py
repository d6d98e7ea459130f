"""Recording a stream that is running already: begun and ended between two frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline import wire
from pipeline.intake import Intake
from service.storage.ports import Recording, StreamStore
from service.streams.durability import Durability
from service.streams.progress import Progress


class RecordingSwitch:
    """Turns a stream's recording on and off; for its thread, between two frames.

    A recording that is turned on again goes on behind a gap. What a kill leaves holds all frames for which it was on,
    and perhaps frames before or behind those: frames that the log brings back are recorded as it is on then.

    Args:
        store: of the stream.
        durability: of the stream, changed.
        document: what the stream was made from, by whether it is recorded.
        intake: of the stream.
        progress: of the stream.
        open_recording: the file behind frame ``number``.
    """

    def __init__(
        self, store: StreamStore, durability: Durability, document: Callable[[bool], dict[str, Any]],
        intake: Intake, progress: Progress, open_recording: Callable[[int], Recording],
    ) -> None:  # fmt: skip
        self._store, self._durability, self._document = store, durability, document
        self._intake, self._progress, self._open = intake, progress, open_recording

    def turn(self, on: bool) -> None:
        """From the next frame on frames are recorded, or are not.

        Raises:
            OSError: the disk does not take it: all stays as it was.
            RuntimeError: it holds camera bytes, whose first words say what the later ones mean.
        """
        durability, recording = self._durability, self._durability.recording
        if on == durability.recording_on:
            return
        if on and self._intake.encoding not in {None, wire.AER64}:
            raise RuntimeError("a stream of camera bytes is recorded from its start or not at all")
        if on:
            recording = self._begun(recording)
            durability.record_into(recording, on=False)  # known from here on: whatever fails, it is closed
        elif recording is not None:
            recording.sync()  # nothing brings back what a power cut takes from it now
        self._store.reveal(self._document(on))  # what a start reads
        durability.record_into(recording, on=on)

    def mark_pause(self) -> None:
        """It goes on from a snapshot that was taken while it was off, and is on since: a gap lies between."""
        if self._durability.recording_on and self._durability.recording is not None:
            self._append_gap(self._durability.recording)

    def _begun(self, recording: Recording | None) -> Recording:
        if recording is None:
            return self._open(self._progress.received)
        self._append_gap(recording)
        return recording

    def _append_gap(self, recording: Recording) -> None:
        # At the watermark: events that the stream still took, though later than others, are not late in a replay.
        t_us = max(0, self._intake.engine.clock.watermark_us or 0)
        recording.append([wire.build(wire.GAP, 0, self._progress.received, t_us, 0)])
