"""All streams of the service: made, found, restored, ended when nobody feeds them, forgotten in time."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from pathlib import Path

import structlog

from pipeline import wire
from pipeline.checkpoint import CheckpointError
from pipeline.errors import UserError
from pipeline.graph import Graph
from pipeline.writing import replace_file, sync_folder
from service import box
from service.reading import read_file
from service.settings import Settings
from service.streams import snapshots
from service.streams.fetching import Fetcher
from service.streams.gate import Admitted
from service.streams.lifecycle import OVER, State
from service.streams.log import FrameLog
from service.streams.memory import Hold, Memory, NoRoom
from service.streams.request import StreamRequest, read_request
from service.streams.snapshots import Snapshot, Snapshots
from service.streams.stream import GONE, Stream

_log = structlog.get_logger("streams")


_KNOWN = (UserError, CheckpointError, OSError)


class TooManyStreams(Exception):
    """The service keeps as many streams as it may."""


class Streams:
    """The streams, by name; belongs to the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._streams: dict[str, Stream] = {}
        self._fetchers: dict[str, Fetcher] = {}
        self._keys: dict[str, tuple[str, str | None]] = {}
        """By idempotency key: the stream, and the SHA-256 of what was asked for."""
        self._over_since: dict[str, float] = {}
        self._watch: asyncio.Task[None] | None = None
        self._key = b""
        self._later: set[Path] = set()
        self._memory = Memory(
            settings.streams_memory_bytes or (settings.memory_bytes or box.memory_bytes()) // 2
        )
        self.not_restored: dict[str, str] = {}
        """Streams on disk that could not be gone on with, and why."""

    async def open(self) -> None:
        """Go on with the streams that a crash or restart left, and start watching."""
        folder = self._settings.streams_dir
        folder.mkdir(parents=True, exist_ok=True)
        if self._settings.fsync:
            sync_folder(folder.parent)
        self._key = snapshots.key_of(self._settings.data_dir)
        for path in sorted(folder.iterdir()):
            if path.name.startswith(GONE):
                shutil.rmtree(path, ignore_errors=True)
            else:
                await self._restore(path)
        self._watch = asyncio.create_task(self._watch_forever())

    async def close(self) -> None:
        """Stop all threads and sources; what is on disk stays."""
        if self._watch:
            self._watch.cancel()
        await asyncio.gather(*(fetcher.close() for fetcher in self._fetchers.values()))
        await asyncio.gather(*(asyncio.to_thread(stream.close) for stream in self._streams.values()))

    async def make_room(self) -> None:
        """Forget the stream that has been over for longest, where there are as many as there may be."""
        if len(self._streams) >= self._settings.max_streams:
            over = [one for one in self._streams.values() if one.state in OVER and not one.worth_keeping]
            if over:
                await self.delete(min(over, key=lambda stream: stream.created_s).id)

    def with_key(self, key: str) -> Stream | None:
        """The stream that was made with this idempotency key, where it still is."""
        return self._streams.get(self._keys.get(key, ("", None))[0])

    def asked_with(self, key: str) -> str | None:
        """The SHA-256 of what was asked for with this idempotency key; None where nobody wrote it down."""
        return self._keys.get(key, ("", None))[1]

    def hold(self) -> Hold:
        """A part of the memory for pipelines, of nothing yet."""
        return self._memory.hold()

    async def build(self, request: StreamRequest) -> tuple[Graph, Hold]:
        """The pipeline of a request, built beside the event loop, and what it holds of the memory.

        Raises:
            SpecError: it cannot be used.
            NoRoom: it would take more memory than is left.
        """
        hold = self._memory.hold()

        def build() -> Graph:
            spec = request.spec()
            threads = min(spec.threads or self._settings.stream_threads, box.cores())
            return Graph(spec, request.sensor, time.perf_counter, hold.take, threads)

        try:
            return await asyncio.to_thread(build), hold
        except MemoryError as problem:
            hold.release()
            raise NoRoom(
                "its pipeline takes more memory than the system has: take a smaller sensor"
            ) from problem
        except BaseException:
            hold.release()
            raise

    def create(
        self, request: StreamRequest, graph: Graph, hold: Hold, snapshot: Snapshot | None = None,
        key: str | None = None, asked: str | None = None,
    ) -> Stream:  # fmt: skip
        """A new stream, which goes on from a snapshot where there is one.

        Args:
            request: what it shall be, with what it left to the service.
            graph: of its pipeline; see :meth:`build`.
            hold: of the memory that this takes.
            snapshot: where it goes on from.
            key: its idempotency key: it names the stream for as long as that is kept.
            asked: SHA-256 of what was asked for with that key.

        Raises:
            CheckpointError: the snapshot does not fit.
            TooManyStreams: there are as many as there may be.
        """
        if len(self._streams) >= self._settings.max_streams:
            raise TooManyStreams(f"{self._settings.max_streams} streams are kept already: delete one")
        id_ = secrets.token_hex(8)
        folder = self._settings.streams_dir / id_
        stream = None
        try:
            stream = Stream(id_, request, self._settings, folder, self._key, graph, hold, snapshot)
            if snapshot:  # so that a restart finds what came from elsewhere
                stream.keep_first(snapshot)
            if key is not None:
                known = json.dumps({"key": key, "asked": asked}).encode()
                replace_file(folder / "key", known, self._settings.fsync)
        except BaseException:
            if stream is not None:
                stream.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._streams[id_] = stream
        if key is not None:
            self._keys[key] = id_, asked
        stream.start(restore=False)
        _log.info("stream created", id=id_, policy=stream.request.policy)
        return stream

    def keys(self) -> dict[str, str]:
        """Idempotency keys, and the stream that each made."""
        return {key: id_ for key, (id_, _) in self._keys.items()}

    def forget_key(self, key: str) -> None:
        """Let another stream have this idempotency key."""
        if (known := self._keys.pop(key, None)) is not None:
            (self._settings.streams_dir / known[0] / "key").unlink(missing_ok=True)

    def read_snapshot(self, source: Path | bytes) -> Snapshot:
        """A snapshot that this service wrote.

        Raises:
            CheckpointError: it is none.
        """
        return snapshots.read(source, self._key)

    def fetch(self, stream: Stream, fetcher: Fetcher) -> None:
        """Feed a stream from a source of the service's own."""
        self._fetchers[stream.id] = fetcher
        stream.fetching = fetcher.describe
        fetcher.feed(stream)

    def fetcher(self, id_: str) -> Fetcher | None:
        """What feeds the stream of this name, where the service does so itself."""
        return self._fetchers.get(id_)

    def get(self, id_: str) -> Stream | None:
        """The stream of this name."""
        return self._streams.get(id_)

    def page(self, after: str | None, most: int) -> tuple[list[Stream], str | None]:
        """Streams in order of their names behind ``after``, and where the next page starts."""
        names = sorted(name for name in self._streams if after is None or name > after)
        shown = names[:most]
        return [self._streams[name] for name in shown], shown[-1] if len(names) > most else None

    async def delete(self, id_: str) -> bool:
        """Remove a stream and what it kept; whether there was one."""
        stream = self._streams.pop(id_, None)
        self._over_since.pop(id_, None)
        self._keys = {key: one for key, one in self._keys.items() if one[0] != id_}
        if stream is None:
            return False
        stream.deleted = True  # before its rows go, or subscribers would read what is no more
        stream.disown_files()  # first: a stream that is deleted must not come back, whatever happens now
        if fetcher := self._fetchers.pop(id_, None):
            await fetcher.close()
        stream.announce()
        await asyncio.to_thread(stream.close)
        await asyncio.to_thread(stream.delete_files)
        _log.info("stream deleted", id=id_)
        return True

    def counts(self) -> dict[str, int]:
        """Streams by state."""
        found = dict.fromkeys((state.value for state in State), 0)
        for stream in self._streams.values():
            found[stream.state.value] += 1
        return found

    def all(self) -> list[Stream]:
        """Every stream."""
        return list(self._streams.values())

    def users_of(self, model: str) -> list[str]:
        """Names of the streams that are not over and use a model."""
        return [stream.id for stream in self._streams.values()
                if stream.state not in OVER and model in stream.model_names]  # fmt: skip

    async def _restore(self, folder: Path) -> None:
        hold = None
        try:
            request, created_s = read_request(folder)
            if request.policy != "lossless":
                shutil.rmtree(folder, ignore_errors=True)  # resumes over a broken connection only
                return
            for part in (*folder.glob(".*.part"), *folder.glob(".asked-*")):
                part.unlink(missing_ok=True)
            snapshot = _where_it_goes_on(folder, self._key)
            graph, hold = await self.build(request)
            stream = Stream(
                folder.name, request, self._settings, folder, self._key, graph, hold, snapshot, created_s
            )
        except (
            Exception
        ) as problem:  # whatever is wrong with one stream's files is wrong with that stream alone
            if hold is not None:
                hold.release()
            why = str(problem) if isinstance(problem, _KNOWN) else f"{type(problem).__name__}: {problem}"
            if self.not_restored.get(folder.name) == why:
                return
            self.not_restored[folder.name] = why
            if isinstance(problem, OSError):  # a full disk may have room again
                self._later.add(folder)
            _log.error("stream not restored", id=folder.name, problem=why)
            return
        self._streams[folder.name] = stream
        self.not_restored.pop(folder.name, None)
        self._later.discard(folder)
        if (held := _read_key(folder)) is not None:
            self._keys[held[0]] = folder.name, held[1]
        stream.start(restore=True)
        if request.source is not None:
            self.fetch(stream, Fetcher(request, self._settings))

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, self._settings.keep_ended_s))
            for folder in list(self._later):
                await self._restore(folder)
            for stream in list(self._streams.values()):
                try:
                    await self._look_after(stream, time.monotonic())
                except Exception:
                    _log.exception("a stream could not be looked after", id=stream.id)

    async def _look_after(self, stream: Stream, now: float) -> None:
        fetcher = self._fetchers.get(stream.id)
        if fetcher is not None and fetcher.idle_s > stream.request.idle_timeout_s:
            fetcher.end_pictures()
        if stream.sender is not None or not stream.restored.is_set():
            stream.last_seen_s = now
        elif not stream.gate.ended:
            self._end_if_idle(stream, now)
        if stream.state in OVER and not stream.worth_keeping:
            since = self._over_since.setdefault(stream.id, now)
            if now - since > self._settings.keep_ended_s:
                await self.delete(stream.id)

    def _end_if_idle(self, stream: Stream, now: float) -> None:
        """A stream without sender ends as if ``end`` had come."""
        if now - stream.last_seen_s > stream.request.idle_timeout_s and stream.state not in OVER:
            end_by_itself(stream)
            _log.info("stream ended: no sender", id=stream.id)


def _where_it_goes_on(folder: Path, key: bytes) -> Snapshot | None:
    """The newest snapshot of a stream that is whole; None where its log holds all there is.

    Raises:
        CheckpointError: every snapshot is damaged, and the log begins behind one.
    """
    try:
        return Snapshots(folder, key).newest()
    except CheckpointError as problem:
        if not FrameLog.is_whole(folder):
            raise
        _log.error("no snapshot of a stream is whole: it is rebuilt from its log, which is", id=folder.name,
                   problem=str(problem))  # fmt: skip
        return None


def _read_key(folder: Path) -> tuple[str, str | None] | None:
    """(The idempotency key of a stream, the SHA-256 of what was asked for with it); None where it has none."""
    path = folder / "key"
    if not path.exists():
        return None
    text = ""
    try:
        text = read_file(path).decode()
        held = json.loads(text)
        return str(held["key"]), held["asked"]
    except (OSError, UnicodeDecodeError) as problem:
        _log.error("the idempotency key of a stream cannot be read", id=folder.name, problem=str(problem))
        return None
    except (ValueError, KeyError, TypeError):  # as it was written before sums were kept
        return text, None


def end_by_itself(stream: Stream) -> None:
    """End a stream as if ``end`` had come."""
    # Not a number of the client's: a frame that it has still to send must not pass for this one.
    raw = wire.build(wire.END, 0, stream.gate.accepted, 0, 0)
    frame = wire.parse(raw)
    stream.gate.take(frame, 0)
    stream.push(Admitted(frame, raw, time.monotonic()))
