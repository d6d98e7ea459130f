"""What a stream writes that must outlive it, and when it counts as durable."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from service.storage.ports import Recording, ShedLog, StreamLog
from service.streams.progress import Progress

_FULL = {errno.ENOSPC, errno.EDQUOT}
_RETRY_S = 0.5


@dataclass
class Durability:
    """Where a stream's frames go; each None where it does not ask for it.

    Attributes:
        log: frames of a lossless stream.
        checkpoint: stores the state; the number of the frame that the snapshot before it holds.
        checkpoint_bytes: so many bytes of frames are logged between two snapshots.
        recording: frames, for whoever downloads them.
        recording_on: whether frames are added to it.
        shed_log: what a realtime stream shed.
    """

    log: StreamLog | None = None
    checkpoint: Callable[[], int] | None = None
    checkpoint_bytes: int = 2**63
    recording: Recording | None = None
    recording_on: bool = False
    shed_log: ShedLog | None = None

    def checkpoint_with(self, checkpoint: Callable[[], int]) -> None:
        """Store the state like this, where frames are logged."""
        if self.log is not None:
            self.checkpoint = checkpoint

    def record_into(self, recording: Recording | None, on: bool) -> None:
        """Where frames are recorded, and whether they are."""
        self.recording, self.recording_on = recording, on

    def close(self) -> None:
        """Let go of files."""
        if self.recording is not None:
            self.recording.close()
            self.record_into(None, on=False)
        if self.log is not None:
            self.log.close()
            self.log = None


class Stopped(Exception):
    """The stream was told to stop amid a write: what it has computed is of use to nobody."""


class PatientWriter:
    """Writes that wait while the disk is full.

    Args:
        progress: whose ``trouble`` says so.
        notify: called when that changes for the worse.
        pause: waits so many seconds; False when it is time to stop.
    """

    def __init__(
        self, progress: Progress, notify: Callable[[], None], pause: Callable[[float], bool]
    ) -> None:
        self._progress, self._notify, self._pause = progress, notify, pause

    def write(self, write: Callable[[], object]) -> None:
        """Write as soon as the disk has room.

        Args:
            write: raises OSError where it could not, and may be tried again.

        Raises:
            Stopped: it is time to stop.
            OSError: it cannot be written for another reason.
        """
        while True:
            try:
                write()
            except OSError as problem:
                if problem.errno not in _FULL:
                    raise
                self._progress.held_up(f"the disk is full: {problem.strerror}")
                self._notify()
            else:
                self._progress.held_up(None)
                return
            if not self._pause(_RETRY_S):
                raise Stopped
