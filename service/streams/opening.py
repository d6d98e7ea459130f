"""How a stream is opened: its source found, its sensor known, its snapshot read."""

from __future__ import annotations

from service.access import allowed_sources
from service.settings import Settings
from service.storage.records import Snapshot
from service.streams.fetching import Fetcher
from service.streams.registry import Streams
from service.streams.request import StreamRequest
from service.streams.stream import Stream


async def open_stream(
    streams: Streams, settings: Settings, request: StreamRequest, key: str | None = None,
    snapshot: Snapshot | None = None, asked: str | None = None,
) -> Stream:  # fmt: skip
    """Open a stream, or find the one that has its idempotency key.

    Args:
        streams: where it is kept.
        settings: of the service.
        request: what it shall be.
        key: names it for as long as it is kept.
        snapshot: where it goes on from.
        asked: SHA-256 of what was asked for with the key.

    Raises:
        SpecError: its pipeline cannot be used.
        NotAllowed: the service may not fetch from its source.
        SourceFailed: its source cannot be opened.
        CheckpointError: the snapshot does not fit.
        TooManyStreams: there are as many as there may be.
        NoRoom: its pipeline would take more memory than is left.
    """
    fetcher = None
    try:
        if request.source is not None:
            fetcher = Fetcher(request, settings)
            request = await _with_sensor(request, fetcher, settings)
        request = request.resolved(settings)
        await streams.make_room()
        graph, hold = await streams.build(request)
        try:
            stream = await streams.create(request, graph, hold, snapshot, key, asked)
        except BaseException:
            hold.release()
            raise
    except BaseException:
        if fetcher is not None:
            await fetcher.close()
        raise
    if fetcher is not None and stream.graph is not graph:  # the same key came twice at a time
        await fetcher.close()
    elif fetcher is not None:
        streams.fetch(stream, fetcher)
    return stream


async def _with_sensor(request: StreamRequest, fetcher: Fetcher, settings: Settings) -> StreamRequest:
    """The request with the sensor that its source states, where nobody else does."""
    request.spec()
    await allowed_sources.look_up(fetcher.address, settings.allowed_sources)
    if request.sensor is not None or request.spec().sensor is not None:
        return request
    return request.model_copy(update={"sensor": await fetcher.open()})
