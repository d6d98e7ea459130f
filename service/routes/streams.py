"""``/v1/streams``: live sessions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from pipeline.spec import SpecError
from service.problems import Problem, of_spec, responses
from service.routes.state import Service
from service.streams import Stream, StreamRequest
from service.streams.registry import TooManyStreams

router = APIRouter(prefix="/v1/streams", tags=["streams"])
StreamId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="name of the stream")]


@router.post("", status_code=201, responses=responses(422, 503))
async def create_stream(request: StreamRequest, response: Response, service: Service) -> dict[str, Any]:
    """Open a stream: send its events to `ingest_url`, read its answers from `results_url`."""
    if service.draining or service.not_ready:
        raise Problem(503, "the service is not ready", headers={"Retry-After": "2"})
    try:
        await service.streams.make_room()
        stream = service.streams.create(request)
    except SpecError as error:
        raise of_spec(error) from error
    except TooManyStreams as error:
        raise Problem(503, str(error), headers={"Retry-After": "10"}) from error
    response.headers["Location"] = f"/v1/streams/{stream.id}"
    return stream.describe()


@router.get("", responses=responses(422))
async def list_streams(
    service: Service,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """The streams there are, page by page."""
    streams, following = service.streams.page(after, limit)
    return {"streams": [stream.describe() for stream in streams], "next": following}


@router.get("/{stream_id}", responses=responses(404, 422))
async def get_stream(stream_id: StreamId, service: Service) -> dict[str, Any]:
    """One stream."""
    return find(service, stream_id).describe()


@router.get("/{stream_id}/stats", responses=responses(404, 422))
async def get_stats(stream_id: StreamId, service: Service) -> dict[str, Any]:
    """What went in, what came out, what was dropped, and how far behind it is."""
    return find(service, stream_id).stats()


@router.delete("/{stream_id}", status_code=204, responses=responses(404, 422))
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
