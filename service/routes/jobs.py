"""``/v1/jobs``: offline analyses of uploaded videos and recordings."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from service.jobs import Job, upload
from service.jobs.runner import JobOptions
from service.jobs.store import DONE, OVER
from service.problems import Problem, responses
from service.routes.state import Service

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="name of the job")]
_HEARTBEAT_S = 15

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {
            "type": "object", "required": ["file"], "properties": {
                "file": {"type": "string", "format": "binary", "description": "a video or a recording"},
                **{name: {"type": "string", "description": one.description or name}
                   for name, one in JobOptions.model_fields.items()},
            },
        }}},
    }
}  # fmt: skip


@router.post("", status_code=202, openapi_extra=_BODY, responses=responses(400, 408, 413, 415, 422, 503))
async def create_job(
    request: Request,
    response: Response,
    service: Service,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:
    """Analyze an upload: answers 202, then follow `Location` or its `events`."""
    if service.draining or service.not_ready:
        raise Problem(503, "the service is not ready", headers={"Retry-After": "2"})
    jobs = service.jobs
    if idempotency_key is not None and (known := await jobs.store.with_key(idempotency_key)):
        response.headers["Location"] = f"/v1/jobs/{known.id}"
        return await _describe(service, known)
    id_, folder = jobs.new_folder()
    try:
        taken = await upload.receive(
            request.stream(),
            request.headers.get("content-type", ""),
            folder,
            service.settings.max_upload_bytes,
        )
        options = _options(taken.fields)
        job = await jobs.submit(Job(id_, taken.name, options, idempotency_key))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if job.id != id_:  # the same key came twice at a time
        shutil.rmtree(folder, ignore_errors=True)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await _describe(service, job)


def _options(fields: dict[str, str]) -> dict[str, Any]:
    """Checked options, with the pipeline as a document."""
    values: dict[str, Any] = {name: text for name, text in fields.items() if text}
    if values.get("pipeline", "").lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):
            values["pipeline"] = json.loads(values["pipeline"])
    try:
        options = JobOptions.model_validate(values)
    except ValidationError as problem:
        errors = [(".".join(map(str, one["loc"])), one["msg"]) for one in problem.errors()]
        known = ", ".join(JobOptions.model_fields)
        detail = f"{errors[0][0]}: {errors[0][1]}; fields are file, {known}"
        raise Problem(422, detail, errors) from problem
    try:
        return {**options.model_dump(mode="json"), "pipeline": options.check_pipeline()}
    except (RecursionError, PydanticSerializationError) as problem:
        raise Problem(422, "pipeline: nested too deep", [("pipeline", "nested too deep")]) from problem


@router.get("", responses=responses(422))
async def list_jobs(
    service: Service,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """The jobs there are, page by page."""
    jobs = await service.jobs.store.page(after, limit + 1)
    shown = jobs[:limit]
    return {
        "jobs": [await _describe(service, job) for job in shown],
        "next": shown[-1].id if len(jobs) > limit else None,
    }


@router.get("/{job_id}", responses=responses(404, 422))
async def get_job(job_id: JobId, service: Service) -> dict[str, Any]:
    """One job: its state, how far it is, and its artifacts."""
    return await _describe(service, await _find(service, job_id))


@router.delete("/{job_id}", status_code=204, responses=responses(404, 422))
async def delete_job(job_id: JobId, service: Service) -> None:
    """Cancel a job that waits or runs; forget one that is over, with its artifacts."""
    job = await _find(service, job_id)
    if job.state in OVER:
        await service.jobs.remove(job_id)
    else:
        await service.jobs.cancel(job_id)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **responses(404, 422),
    },
)
async def job_events(job_id: JobId, service: Service) -> StreamingResponse:
    """The job as server-sent events `job`, at every change, until it is over."""
    await _find(service, job_id)
    return StreamingResponse(
        _changes(service, job_id), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


@router.get(
    "/{job_id}/artifacts/{name}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "Partial Content"}, 416: {"description": "Range Not Satisfiable"},
        **responses(400, 404, 422),
    },
)  # fmt: skip
async def get_artifact(
    job_id: JobId, name: Annotated[str, Path(max_length=128)], service: Service
) -> FileResponse:
    """One file of a finished job; ranges are served."""
    job = await _find(service, job_id)
    found = {path.name: path for path in _artifacts(service, job)}
    if name not in found:
        raise Problem(404, f"no such artifact; there are {', '.join(sorted(found)) or 'none yet'}")
    return FileResponse(
        found[name],
        headers={
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; " + _REPORT_POLICY,
        },
    )


_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


async def _changes(service: Service, job_id: str) -> AsyncIterator[str]:
    last = ""
    while True:
        job = await service.jobs.store.get(job_id)
        if job is None:
            return
        changed = service.jobs.live(job_id).changed if job.state not in OVER else None
        text = json.dumps(await _describe(service, job))
        if text != last:
            last = text
            yield f"event: job\ndata: {text}\n\n"
        if changed is None or service.draining:
            return
        try:
            await asyncio.wait_for(changed.wait(), _HEARTBEAT_S)
        except TimeoutError:
            yield ": still there\n\n"


async def _find(service: Service, job_id: str) -> Job:
    job = await service.jobs.store.get(job_id)
    if job is None:
        raise Problem(404, "no such job")
    return job


async def _describe(service: Service, job: Job) -> dict[str, Any]:
    live = service.jobs.live(job.id) if job.state not in OVER else None
    return {
        "id": job.id, "state": job.state, "name": job.name, "error": job.error,
        "created_s": job.created_s, "finished_s": job.finished_s, "attempts": job.attempts,
        "done": live.fraction if live else float(job.state == DONE),
        "events": live.events if live else None, "rows": live.rows if live else None,
        "artifacts": [
            {
                "name": path.name,
                "bytes": path.stat().st_size,
                "url": f"/v1/jobs/{job.id}/artifacts/{path.name}",
            }
            for path in _artifacts(service, job)
        ],
    }  # fmt: skip


def _artifacts(service: Service, job: Job) -> list[Any]:
    """Files of a job that is done; none of one that is not."""
    folder = service.jobs.answers(job.id)
    return sorted(folder.iterdir()) if job.state == DONE and folder.is_dir() else []
