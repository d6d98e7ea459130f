"""``/v1/streams``: live sessions."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope

from pipeline.checkpoint import CheckpointError
from pipeline.spec import SpecError
from service.access.allowed_sources import NotAllowed
from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem, answers, made, of_spec, responses
from service.routes.answers import StatsAnswer, StreamAnswer, StreamsAnswer
from service.routes.state import Service
from service.storage.records import Snapshot
from service.streams import Stream, StreamRequest
from service.streams.fetching import SourceFailed
from service.streams.memory import NoRoom
from service.streams.opening import open_stream
from service.streams.registry import TooManyStreams

router = APIRouter(prefix="/v1/streams", tags=["streams"])
_MADE = made(
    201, StreamAnswer, "stream_id",
    ("get_stream", "get_stats", "get_snapshot", "get_recording", "set_recording", "get_admission", "delete_stream"),
)  # fmt: skip
StreamId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="name of the stream")]


@router.post("", status_code=201, responses={**_MADE, **responses(409, 422, 503, 507)})
@needs(Scope.STREAM)
async def create_stream(
    request: StreamRequest, response: Response, service: Service,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> dict[str, Any]:  # fmt: skip
    """Open a stream: send its events to `ingest_url`, read its answers from `results_url`."""
    service.demand_ready()
    asked = hashlib.sha256(request.model_dump_json(exclude_unset=True).encode()).hexdigest()
    if idempotency_key is not None and (known := service.streams.with_key(idempotency_key)):
        _demand_same(service, idempotency_key, asked)
        response.headers["Location"] = f"/v1/streams/{known.id}"
        return known.view.describe()
    used = request.snapshot
    snapshot = await _snapshot(service, request)
    if snapshot is not None:
        request = _from_snapshot(request, snapshot)
    try:
        stream = await open_stream(
            service.streams, service.settings, request, idempotency_key, snapshot, asked
        )
    except BaseException as error:
        raise _as_problem(error) from error
    if idempotency_key is not None:
        _demand_same(service, idempotency_key, asked)  # another may have come at the same time
    if used is not None:
        await service.uploads.remove(used)
    response.headers["Location"] = f"/v1/streams/{stream.id}"
    return stream.view.describe()


def _demand_same(service: Service, key: str, asked: str) -> None:
    """Refuse a key that came with another body before.

    Raises:
        Problem: it did.
    """
    if service.streams.keys.asked(key) not in {None, asked}:
        raise Problem(422, "Idempotency-Key: a stream with this key was made from another body")


def _as_problem(error: BaseException) -> BaseException:
    if isinstance(error, SpecError):
        return of_spec(error)
    if isinstance(error, TooManyStreams | NoRoom):
        return Problem(503, str(error), headers={"Retry-After": "10"})
    if isinstance(error, NotAllowed | SourceFailed):
        return Problem(422, str(error), [("source.address", str(error))])
    if isinstance(error, CheckpointError):
        return Problem(422, f"snapshot: {error}", [("snapshot", str(error))])
    return error


async def _snapshot(service: Service, request: StreamRequest) -> Snapshot | None:
    """The snapshot that a request names."""
    if request.snapshot is None:
        return None
    upload = await service.uploads.find(request.snapshot)
    if upload is None or not upload.complete:
        raise Problem(
            422, "snapshot: no complete upload of this id", [("snapshot", "no complete upload of this id")]
        )
    try:
        return await asyncio.to_thread(service.streams.read_snapshot, await service.uploads.file(upload.id))
    except CheckpointError as error:
        raise _as_problem(error) from error


def _from_snapshot(request: StreamRequest, snapshot: Snapshot) -> StreamRequest:
    """What the stream was that the snapshot is of; nothing else may be asked for."""
    others = request.model_fields_set - {"snapshot", "source"}
    if others:
        name = sorted(others)[0]
        raise Problem(422, f"{name}: comes with the snapshot", [(name, "comes with the snapshot")])
    return StreamRequest.model_validate({**snapshot.card["request"], "source": request.source})


@router.get("", responses=answers(StreamsAnswer, 422))
@needs(Scope.READ)
async def list_streams(
    service: Service,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """The streams there are, page by page."""
    streams, following = service.streams.page(after, limit)
    return {"streams": [stream.view.describe() for stream in streams], "next": following}


@router.get("/{stream_id}", responses=answers(StreamAnswer, 404, 422))
@needs(Scope.READ)
async def get_stream(stream_id: StreamId, service: Service) -> dict[str, Any]:
    """One stream."""
    return find(service, stream_id).view.describe()


@router.get("/{stream_id}/stats", responses=answers(StatsAnswer, 404, 422))
@needs(Scope.READ)
async def get_stats(stream_id: StreamId, service: Service) -> dict[str, Any]:
    """What went in, what came out, what was dropped, and how far behind it is."""
    return find(service, stream_id).view.stats()


_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "Partial Content"}, 416: {"description": "Range Not Satisfiable"},
}  # fmt: skip


@router.get(
    "/{stream_id}/snapshot", response_class=Response,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
               **responses(404, 409, 422)},
)  # fmt: skip
@needs(Scope.STREAM)
async def get_snapshot(stream_id: StreamId, service: Service) -> Response:
    """The state of a stream after the frames that it has processed: upload it and name it to go on from there."""
    stream = find(service, stream_id)
    try:
        number, data = await stream.between_frames(stream.checkpoints.packed)
    except RuntimeError as problem:
        raise Problem(409, f"{problem}: a snapshot is of a stream that goes on") from problem
    name = f"{stream_id}-{number}.zip"
    return Response(
        data, media_type="application/zip", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.get(
    "/{stream_id}/recording", response_class=FileResponse, responses={**_BYTES, **responses(400, 404, 422)}
)
@needs(Scope.READ)
async def get_recording(stream_id: StreamId, service: Service) -> FileResponse:
    """The frames that came while the stream was recorded: `analyze` reads them, `replay` if they begin with it."""
    recording = find(service, stream_id).durability.recording
    if recording is None or not recording.path.is_file():
        raise Problem(404, 'the stream was not recorded: open it with `record`, or PUT {"on": true} here')
    return _UpToNow(recording.path, media_type="application/octet-stream", filename=f"{stream_id}.pchy")


class _UpToNow(FileResponse):
    """A file that may grow: as much of it as there was when its length was told."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        left, over = 2**63, False

        async def bounded(message: Message) -> None:
            nonlocal left, over
            if message["type"] == "http.response.start":
                told = dict(message["headers"]).get(b"content-length")
                left = int(told) if told else left
            elif message["type"] == "http.response.body":
                if over:
                    return
                body = message.get("body", b"")[:left]
                left -= len(body)
                over = left == 0 or not message.get("more_body", False)
                message = {**message, "body": body, "more_body": not over}
            await send(message)

        await super().__call__(scope, receive, bounded)


@router.put("/{stream_id}/recording", status_code=204, responses=responses(404, 409, 422, 507))
@needs(Scope.STREAM)
async def set_recording(
    stream_id: StreamId, service: Service, on: Annotated[bool, Body(embed=True, strict=True)]
) -> None:
    """Record a running stream from the next frame on, or stop that; a recording goes on behind a gap."""
    stream = find(service, stream_id)
    try:
        await stream.between_frames(partial(stream.recording_switch.turn, on))
    except RuntimeError as problem:
        raise Problem(409, f"cannot be recorded: {problem}") from problem


@router.get(
    "/{stream_id}/admission",
    response_class=Response,
    responses={
        200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}},
        **responses(404, 422),
    },
)
@needs(Scope.READ)
async def get_admission(stream_id: StreamId, service: Service) -> Response:
    """What a realtime stream shed, a line a run of frames; `polychrony replay --admission` follows it."""
    stream = find(service, stream_id)
    await stream.flush_shed_log()
    if (shed_log := stream.durability.shed_log) is None:
        raise Problem(404, "a lossless stream sheds nothing")
    path = shed_log.path
    text = await asyncio.to_thread(path.read_bytes) if path.exists() else b""
    return Response(text, media_type="application/jsonl")


@router.delete("/{stream_id}", status_code=204, responses=responses(404, 422))
@needs(Scope.STREAM)
async def delete_stream(stream_id: StreamId, service: Service) -> None:
    """End a stream and forget it; its sockets close with 4404."""
    if not await service.streams.delete(stream_id):
        raise Problem(404, "no such stream")


def find(service: Service, stream_id: str) -> Stream:
    """The stream of this name, or a 404."""
    stream = service.streams.get(stream_id)
    if stream is None:
        raise Problem(404, "no such stream")
    return stream
