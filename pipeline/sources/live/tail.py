"""A recording that is being written, or a folder into which recordings come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from kernels import decode
from kernels.decode import Decoder
from pipeline.sources.base import SourceError
from pipeline.sources.formats import identify
from pipeline.sources.formats.prophesee import WORD_BYTES, Raw
from pipeline.sources.formats.reader import CHUNK_BYTES, Faults, Options
from pipeline.sources.live.base import NOTHING, Arrival, BaseLive
from pipeline.sources.recording import Recording

_POLL_S = 0.02
_SETTLED_S = 1.0


class Tail(BaseLive):
    """Follows an EVT2 or EVT3 file as it grows; a folder's files are followed in the order of their names.

    Files of other formats in a folder are read when they have not grown for a second. A file that is cut to a
    smaller size is read again from its start, behind a gap. It ends when nothing has come for the time it is given.

    Args:
        path: the file or folder.
        options: as for files.
        give_up_s: when to end; 0 for never.
    """

    loss_note = "nothing that was written; a file that is replaced by a larger one under the same name"

    def __init__(self, path: Path, options: Options, give_up_s: float) -> None:
        super().__init__(f"{path.name}, followed", give_up_s)
        if not path.exists():
            raise SourceError(f"{path}: No such file or directory")
        self._path, self._options = path, options
        self.sensor = options.sensor
        self._done: set[str] = set()

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
                yield from self._file(files[0], lambda: bool(self._new_files()))
            else:
                time.sleep(_POLL_S)
                yield NOTHING

    def _new_files(self) -> list[Path]:
        found = [one for one in self._path.iterdir() if one.is_file() and not one.name.startswith(".")]
        return sorted(one for one in found if one.name not in self._done)

    def _file(self, path: Path, is_over: object) -> Iterator[Arrival]:
        while path.stat().st_size == 0 and not self._silent_too_long():
            time.sleep(_POLL_S)
            yield NOTHING
        with path.open("rb") as file:
            head = file.read(65_536)
        kind = self._options.format or identify(head, path)
        if kind in WORD_BYTES:
            yield from self._bytes(path, kind, is_over)
        elif kind is None:
            self._lost("files_of_no_known_format")
        else:
            yield from self._whole(path, kind)

    def _bytes(self, path: Path, kind: str, is_over: object) -> Iterator[Arrival]:
        reader = Raw(path, Faults(path.name, self._options.policy), self._options)
        self._agree(reader.sensor, path)
        decoder, gap = Decoder(WORD_BYTES[kind]), False
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
                    file.seek(reader.start)
                    decoder, gap = Decoder(WORD_BYTES[kind]), True
                elif self._silent_too_long() or (callable(is_over) and is_over()):
                    break
                else:
                    time.sleep(_POLL_S)
                    yield NOTHING
        self._lost("truncated_bytes", len(decoder.rest))

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
