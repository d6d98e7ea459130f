"""All streams of the service: made, found, restored, forgotten."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from pipeline.checkpoint import CheckpointError
from pipeline.errors import UserError
from pipeline.graph import Graph
from service.host import limits
from service.settings import Settings
from service.storage.ports import Directory
from service.storage.records import Snapshot
from service.streams.fetching import Fetcher
from service.streams.keys import Keys
from service.streams.lifecycle import OVER, State
from service.streams.memory import Hold, Memory, NoRoom
from service.streams.request import StreamRequest, document_of
from service.streams.stream import Opened, Stream
from service.streams.upkeep import Upkeep

_log = structlog.get_logger("streams")
_KNOWN = (UserError, CheckpointError, OSError)


class TooManyStreams(Exception):
    """The service keeps as many streams as it may."""


class Streams:
    """The streams, by name; belongs to the event loop's thread.

    Args:
        settings: of the service.
        directory: where they are stored.
    """

    def __init__(self, settings: Settings, directory: Directory) -> None:
        self._settings, self._directory = settings, directory
        self._streams: dict[str, Stream] = {}
        self._fetchers: dict[str, Fetcher] = {}
        self.keys = Keys(directory)
        self._creating = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        """Deletions under way."""
        self._memory = Memory(
            settings.streams_memory_bytes or (settings.memory_bytes or limits.memory_bytes()) // 2
        )
        self._upkeep = Upkeep(self, self._memory, settings)
        self.not_restored: dict[str, str] = {}
        """Streams on disk that could not be gone on with, and why."""

    async def open(self) -> None:
        """Go on with the streams that a crash or restart left, and start watching."""
        await asyncio.to_thread(self._directory.open)
        for id_ in await asyncio.to_thread(self._directory.names):
            await self.restore(id_)
        self._upkeep.start()

    async def close(self) -> None:
        """Stop all threads and sources; what is on disk stays."""
        self._upkeep.stop()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await asyncio.gather(*(fetcher.close() for fetcher in self._fetchers.values()))
        await asyncio.gather(*(asyncio.to_thread(stream.close) for stream in self._streams.values()))

    async def make_room(self) -> None:
        """Forget the stream that has been over for longest, where there are as many as there may be."""
        if len(self._streams) >= self._settings.max_streams:
            over = [one for one in self._streams.values() if one.state in OVER and not one.recoverable]
            if over:
                await self.delete(min(over, key=lambda stream: stream.created_s).id)

    def with_key(self, key: str) -> Stream | None:
        """The stream that was made with this idempotency key, where it still is."""
        return self._streams.get(self.keys.stream_of(key))

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
            threads = min(spec.threads or self._settings.stream_threads, limits.cores())
            return Graph(spec, request.sensor, time.perf_counter, hold.take, threads)

        building = asyncio.ensure_future(asyncio.to_thread(build))
        try:
            return await asyncio.shield(building), hold
        except asyncio.CancelledError:
            # The thread goes on, and takes what it needs: only then can that be given back.
            building.add_done_callback(lambda done: (done.exception(), hold.release()))
            raise
        except MemoryError as problem:
            hold.release()
            raise NoRoom(
                "its pipeline takes more memory than the system has: take a smaller sensor"
            ) from problem
        except BaseException:
            hold.release()
            raise

    async def create(
        self, request: StreamRequest, graph: Graph, hold: Hold, snapshot: Snapshot | None = None,
        key: str | None = None, asked: str | None = None,
    ) -> Stream:  # fmt: skip
        """A new stream, which goes on from a snapshot where there is one; or the one that has its key already.

        Args:
            request: what it shall be, with what it left to the service.
            graph: of its pipeline; see :meth:`build`.
            hold: of the memory that this takes; released where another stream is returned.
            snapshot: where it goes on from.
            key: its idempotency key: it names the stream for as long as that is kept.
            asked: SHA-256 of what was asked for with that key.

        Raises:
            CheckpointError: the snapshot does not fit.
            TooManyStreams: there are as many as there may be.
        """
        # One at a time: files are made beside the loop, and meanwhile the same key may come once more.
        async with self._creating:
            if key is not None and (known := self.with_key(key)) is not None:
                hold.release()
                return known
            if key is not None and self._upkeep.waits(self.keys.stream_of(key)):
                raise TooManyStreams("the stream of this Idempotency-Key waits for the disk to have room")
            if len(self._streams) >= self._settings.max_streams:
                raise TooManyStreams(f"{self._settings.max_streams} streams are kept already: delete one")
            id_, created_s = secrets.token_hex(8), time.time()
            making = asyncio.ensure_future(
                asyncio.to_thread(
                    _create_files, self._directory, self._settings, id_, request, graph, snapshot
                )
            )
            try:
                opened = await asyncio.shield(making)
            except asyncio.CancelledError:
                # The thread goes on and makes the files: only when it is done can they be removed.
                with suppress(Exception):
                    await asyncio.to_thread((await making).discard)
                raise
            try:
                stream = Stream(id_, request, self._settings, opened, hold, created_s)
                document = document_of(request, created_s, request.record)
                await asyncio.to_thread(_reveal, self._directory, stream, document, snapshot, key, asked)
            except BaseException:
                await asyncio.to_thread(opened.discard)
                raise
            # Known only now: nobody finds a stream whose files a crash could still take.
            self._streams[id_] = stream
            if key is not None:
                self.keys.add(key, id_, asked)
        stream.start(restore=False)
        _log.info("stream created", id=id_, policy=stream.request.policy)
        return stream

    def read_snapshot(self, source: Path | bytes) -> Snapshot:
        """A snapshot that this service wrote.

        Raises:
            CheckpointError: it is none.
        """
        return self._directory.unpacked(source)

    def fetch(self, stream: Stream, fetcher: Fetcher) -> None:
        """Feed a stream from a source of the service's own."""
        self._fetchers[stream.id] = fetcher
        stream.view.show_source(fetcher.describe)
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
        self.keys.drop_stream(id_)
        if stream is None:
            return False
        stream.hide()  # first: a stream that is deleted must not come back, whatever happens now
        # Whoever asked may leave meanwhile: thread, memory and files are let go of all the same.
        ending = asyncio.create_task(self._end_for_good(stream, self._fetchers.pop(id_, None)))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)
        return True

    async def _end_for_good(self, stream: Stream, fetcher: Fetcher | None) -> None:
        if fetcher is not None:
            await fetcher.close()
        stream.announce()
        await asyncio.to_thread(stream.close)
        await asyncio.to_thread(stream.store.delete)
        _log.info("stream deleted", id=stream.id)

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
                if stream.state not in OVER and model in stream.view.model_names()]  # fmt: skip

    async def restore(self, id_: str) -> None:
        """Go on with a stream that is stored; where that cannot be, say why, and leave its files alone."""
        hold = None
        try:
            document = await asyncio.to_thread(self._directory.document, id_)
            request = StreamRequest.model_validate(document["request"])
            if request.policy != "lossless":  # resumes over a broken connection only
                await asyncio.to_thread(self._directory.remove, id_)
                return
            store = await asyncio.to_thread(self._directory.open_stream, id_)
            snapshot = await asyncio.to_thread(store.newest)
            graph, hold = await self.build(request)
            opened = await asyncio.to_thread(Opened, request, self._settings, store, graph, snapshot)
            try:
                stream = Stream(id_, request, self._settings, opened, hold, float(document["created_s"]))
            except BaseException:
                opened.close()
                raise
        except Exception as problem:  # what is wrong with one stream's files is wrong with that stream alone
            if hold is not None:
                hold.release()
            self._not_restored(id_, problem)
            return
        self._streams[id_] = stream
        self.not_restored.pop(id_, None)
        self._upkeep.restored(id_)
        self.keys.restore(id_)
        stream.start(restore=True)
        if request.source is not None:
            self.fetch(stream, Fetcher(request, self._settings))

    def _not_restored(self, id_: str, problem: Exception) -> None:
        why = str(problem) if isinstance(problem, _KNOWN) else f"{type(problem).__name__}: {problem}"
        if self.not_restored.get(id_) == why:
            return
        self.not_restored[id_] = why
        if isinstance(problem, OSError):  # a full disk may have room again
            self._upkeep.try_again(id_)
            self.keys.restore(id_)
        _log.error("stream not restored", id=id_, problem=why)


def _create_files(
    directory: Directory, settings: Settings, id_: str, request: StreamRequest, graph: Graph,
    snapshot: Snapshot | None,
) -> Opened:  # fmt: skip
    """Beside the event loop; nothing is left of what fails."""
    store = directory.create(id_)
    try:
        return Opened(request, settings, store, graph, snapshot)
    except BaseException:
        store.hide()
        store.delete()
        raise


def _reveal(
    directory: Directory, stream: Stream, document: dict[str, Any], snapshot: Snapshot | None, key: str | None,
    asked: str | None,
) -> None:  # fmt: skip
    """Beside the event loop. What it was made from comes last: a kill before it leaves nothing to start from."""
    if snapshot:
        stream.checkpoints.keep_first(snapshot)
    if key is not None:
        directory.set_key(stream.id, key, asked)
    stream.store.reveal(document)
