"""A recording that is being written, or a folder into which recordings come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kernels.coding import decode
from pipeline.sources.base import SourceError
from pipeline.sources.formats import FORMATS, identify
from pipeline.sources.formats.prophesee import WORD_BYTES, Raw, account, header_is_whole
from pipeline.sources.formats.reader import CHUNK_BYTES, Faults, InputOptions
from pipeline.sources.live.base import NOTHING, Arrival, BaseLive
from pipeline.sources.recording import Recording

_POLL_S = 0.02
_SETTLED_S = 1.0


class Tail(BaseLive):
    """Follows an EVT2 or EVT3 file as it grows; a folder's files are followed in the order of their names.

    Files of other formats in a folder are read when they have not grown for a second. A file that is cut to a
    smaller size is read again from its start, behind a gap. A file of a folder whose clock begins again is moved
    behind the one before it, behind a gap; one that cannot be read is left out and counted. It ends when nothing
    has come for the time it is given.

    Args:
        path: the file or folder.
        options: as for files.
        give_up_s: when to end; 0 for never.
    """

    loss_note = "nothing that was written; a file that is replaced by a larger one under the same name"

    def __init__(self, path: Path, options: InputOptions, give_up_s: float) -> None:
        super().__init__(f"{path.name}, followed", give_up_s)
        if not path.exists():
            raise SourceError(f"{path}: No such file or directory")
        self._path, self._options = path, options
        self.sensor = options.sensor
        self._done: set[str] = set()
        self._newest_us = -1

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`Live`."""
        self._heard()
        if not self._path.is_dir():
            yield from self._file(self._path, lambda: False)
            return
        while not self._silent_too_long():
            files = self._new_files()
            if files:
                self._done.add(files[0].name)
                yield from self._after_the_last(self._file(files[0], lambda: bool(self._new_files())))
            else:
                time.sleep(_POLL_S)
                yield NOTHING

    def _new_files(self) -> list[Path]:
        """Those that hold something already: an empty one may stay so, and holds up no other."""
        found = [one for one in self._path.iterdir() if one.is_file() and not one.name.startswith(".")]
        return sorted(one for one in found if one.name not in self._done and one.stat().st_size > 0)

    def _after_the_last(self, arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
        """A file of a folder, moved behind the one before where its clock began again; a broken one is left out."""
        offset_us: int | None = None
        gap = False
        try:
            for arrival in arrivals:
                (t, x, y, p), triggers = arrival.events, arrival.triggers
                if len(t) and offset_us is None:
                    offset_us = max(0, self._newest_us + 1 - int(t.min()))
                    gap = offset_us > 0
                    self._lost("clocks_begun_again", int(gap))
                if len(triggers) and offset_us:
                    triggers = triggers + np.array([offset_us, 0, 0])
                if len(t):
                    t = t + (offset_us or 0)
                    self._newest_us = max(self._newest_us, int(t.max()))
                yield Arrival((t, x, y, p), triggers, arrival.gap or gap)
                gap = gap and len(t) == 0
        except SourceError:
            if self._options.on_fault == "error":
                raise
            self._lost("unreadable_files")

    def _file(self, path: Path, is_over: Callable[[], bool]) -> Iterator[Arrival]:
        head = b""
        while not self._silent_too_long():  # a header that is still being written would be taken for events
            with path.open("rb") as file:
                head = file.read(65_536)
            if head and (not head.startswith(b"%") or header_is_whole(head) or len(head) == 65_536):
                break
            time.sleep(_POLL_S)
            yield NOTHING
        kind = self._options.format or identify(head, path)
        if kind in WORD_BYTES:
            yield from self._bytes(path, kind, is_over)
        elif kind not in FORMATS:
            self._lost("files_of_no_known_format")
        else:
            yield from self._whole(path, kind)

    def _bytes(self, path: Path, kind: str, is_over: Callable[[], bool]) -> Iterator[Arrival]:
        faults = Faults(path.name, self._options.on_fault, self.losses)
        reader = Raw(path, faults, self._options.model_copy(update={"format": kind}))
        self._agree(reader.sensor, path)
        decoder, gap = reader.decoder(), False
        with path.open("rb") as file:
            file.seek(reader.start)
            while True:
                block = file.read(CHUNK_BYTES)
                if block:
                    self._heard()
                    yield Arrival(decode.decode(decoder, block), decoder.triggers, gap)
                    gap = False
                elif path.exists() and path.stat().st_size < file.tell():
                    self._lost("files_cut_short")
                    account(decoder, faults)
                    file.seek(reader.start)
                    decoder, gap = reader.decoder(), True
                elif self._silent_too_long() or is_over():
                    break
                else:
                    time.sleep(_POLL_S)
                    yield NOTHING
        account(decoder, faults)

    def _whole(self, path: Path, kind: str) -> Iterator[Arrival]:
        size, since = -1, time.monotonic()
        while time.monotonic() - since < _SETTLED_S:
            if path.stat().st_size != size:
                size, since = path.stat().st_size, time.monotonic()
            time.sleep(_POLL_S)
            yield NOTHING
        recording = Recording(path, kind, self._options)
        self._agree(recording.info.sensor, path)
        for reading in recording.batches():
            self._heard()
            yield Arrival(reading.events, reading.triggers)
        for what, n in recording.info.repaired.items():
            self._lost(what, n)

    def _agree(self, stated: object, path: Path) -> None:
        if self.sensor is None:
            if stated is None:
                raise SourceError(f"{path.name}: states no sensor size: give it")
            self.sensor = stated  # pyright: ignore[reportAttributeAccessIssue]
