"""``/v1/jobs``: offline analyses of uploaded videos and recordings."""

from __future__ import annotations

import asyncio
import base64
import filecmp
import hashlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from pipeline.sources import HEAD_BYTES, SourceError, check_head
from pipeline.sources.options import problems
from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem, answers, made, responses
from service.jobs import Job, upload
from service.jobs.request import JobOptions
from service.routes.answers import JobAnswer, JobsAnswer
from service.routes.state import Service
from service.storage.records import DONE, OVER, StoredUpload
from service.uploads.uploads import name_of, safe_suffix

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="name of the job")]
_HEARTBEAT_S = 15
_MADE = made(
    202, JobAnswer, "job_id", ("get_job", "job_events", "retry_job", "delete_job"),
)  # fmt: skip

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {
            "type": "object", "required": ["file"], "properties": {
                "file": {"type": "string", "format": "binary", "description": "a video or a recording"},
                **{name: {"type": "string", "description": one.description or name}
                   for name, one in JobOptions.model_fields.items()},
                "priority": {"type": "integer", "minimum": -10, "maximum": 10},
            },
        }}, "application/json": {"schema": {
            "type": "object", "required": ["upload"], "additionalProperties": False, "properties": {
                "upload": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "a complete upload"},
                "priority": {"type": "integer", "minimum": -10, "maximum": 10},
            },
        }}},
    }
}  # fmt: skip


def describe_body() -> None:
    """Write the options that are known now into the description of the body: plug-ins add formats."""
    body = _BODY["requestBody"]["content"]["application/json"]["schema"]
    body["properties"] = {**JobOptions.model_json_schema()["properties"], **body["properties"]}


@router.post(
    "",
    status_code=202,
    openapi_extra=_BODY,
    responses={**_MADE, **responses(408, 409, 413, 415, 422, 503, 507)},
)
@needs(Scope.STREAM)
async def create_job(
    request: Request,
    response: Response,
    service: Service,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> dict[str, Any]:
    """Analyze an upload: answers 202, then follow `Location` or its `events`.

    The same `Idempotency-Key` answers with the same job; with another body it is refused.
    """
    service.demand_ready()
    jobs = service.jobs
    known = None if idempotency_key is None else await jobs.store.with_key(idempotency_key)
    if known is None:
        await jobs.demand_room()
    id_, folder = jobs.new_folder()
    job = None
    try:
        body = await _body(request, service, folder, known is None, idempotency_key is not None)
        if known is None:
            priority = _priority(body.fields)
            options = _options(body.fields)
            _demand_readable(folder, body.name, options)
            asked = body.asked if idempotency_key else None
            mine = Job(id_, body.name, options, idempotency_key, priority, asked=asked)
            submitting = asyncio.ensure_future(jobs.submit(mine))
            try:
                known = job = await asyncio.shield(submitting)
            except asyncio.CancelledError:
                job = await submitting  # the queue may have it by now: then its folder stays
                raise
    finally:
        if job is None or job.id != id_:  # refused, or the same key came before
            shutil.rmtree(folder, ignore_errors=True)
    is_its_own = known.id == id_ or known.asked == body.asked or await _alike(known, body, service)
    if idempotency_key is not None and known.asked is not None and not is_its_own:
        raise Problem(422, "Idempotency-Key: a job with this key was made from another body")
    if body.waited is not None and is_its_own:  # only now: a kill before leaves the upload where it was
        await service.uploads.remove(body.waited.id)
    response.headers["Location"] = f"/v1/jobs/{known.id}"
    return await _describe(service, known)


@dataclass
class _Body:
    """What a job is made from.

    Attributes:
        name: of the file.
        fields: the others.
        asked: SHA-256 over all of it.
        waited: the upload that it names, where it names one.
    """

    name: str
    fields: dict[str, Any]
    asked: str
    waited: StoredUpload | None = None


async def _body(request: Request, service: Service, folder: FilePath, is_new: bool, summed: bool) -> _Body:
    """Take in a body; of a job that is known already an upload need not be there any more."""
    if request.headers.get("content-type", "").partition(";")[0] == "application/json":
        document = await _json(request)
        asked = _sum(document)
        if (
            not is_new
            and await service.uploads.find(str(document.get("upload") if isinstance(document, dict) else ""))
            is None
        ):
            return _Body("", {}, asked)
        waited, name, fields = await _from_upload(service, document, folder)
        return _Body(name, fields, asked, waited)
    async with service.uploads.passing(request.headers.get("content-length", "")) as came:
        taken = await upload.receive(
            request.stream(), request.headers.get("content-type", ""), folder,
            service.settings.max_upload_bytes, came, summed,
        )  # fmt: skip
    return _Body(
        taken.name, dict[str, Any](taken.fields), _sum([taken.name, taken.fields, taken.sum.hexdigest()])
    )


async def _alike(known: Job, body: _Body, service: Service) -> bool:
    """Whether a body asks for what a job was made from, though it names another upload.

    Whoever never heard of the job, as the service was killed meanwhile, sends the same file once more.
    """
    before = next(service.jobs.folder(known.id).glob("upload*"), None)
    if body.waited is None or before is None or body.name != known.name:
        return False
    fields = dict(body.fields)
    _priority(fields)
    if _options(fields) != known.options:
        return False
    now = await service.uploads.file(body.waited.id)
    return await asyncio.to_thread(filecmp.cmp, now, before, shallow=False)


def _sum(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _demand_readable(folder: FilePath, name: str, options: dict[str, Any]) -> None:
    """Refuse at once what the job could not read: its first bytes tell.

    Raises:
        Problem: they are of nothing that is read.
    """
    with next(folder.glob("upload*")).open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        if not head:
            raise SourceError(f"{name}: an empty file")
        check_head(head, name, options.get("format"))
    except SourceError as problem:
        raise Problem(415, str(problem), [("file", "no input that is read")]) from problem


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise Problem(400, "the body is no JSON") from None


async def _from_upload(
    service: Service, document: Any, folder: FilePath
) -> tuple[StoredUpload, str, dict[str, Any]]:
    """A complete upload, its bytes also in the job's folder, and the other fields."""
    if not isinstance(document, dict) or not isinstance(id_ := document.pop("upload", None), str):
        raise Problem(422, "upload: the id of a complete upload is needed", [("upload", "missing")])
    found = await service.uploads.find(id_)
    if found is None:
        raise Problem(422, "upload: no such upload", [("upload", "no such upload")])
    if not found.complete:
        raise Problem(
            409, f"upload: has {found.offset} of {found.length} bytes", [("upload", "not complete")]
        )
    name = name_of(found)
    os.link(await service.uploads.file(id_), folder / f"upload{safe_suffix(name)}")
    return found, name, document


def _priority(fields: dict[str, Any]) -> int:
    text = str(fields.pop("priority", 0) or 0)
    if not re.fullmatch(r"-?\d{1,2}", text) or not -10 <= int(text) <= 10:
        raise Problem(422, "priority: allowed are -10 to 10", [("priority", "allowed are -10 to 10")])
    return int(text)


def _options(fields: dict[str, Any]) -> dict[str, Any]:
    """Checked options, with the pipeline as a document."""
    values: dict[str, Any] = {
        name: value for name, value in fields.items() if value is not None and value != ""
    }
    pipeline = values.get("pipeline", "")
    if isinstance(pipeline, str) and pipeline.lstrip().startswith("{"):
        # Text that is no JSON stays text, and the check below says where it is wrong.
        with suppress(ValueError, RecursionError):
            values["pipeline"] = json.loads(values["pipeline"])
    try:
        options = JobOptions.model_validate(values)
    except ValidationError as problem:
        errors = problems(problem)
        known = ", ".join(JobOptions.model_fields)
        detail = f"{errors[0][0]}: {errors[0][1]}; fields are file, {known}"
        raise Problem(422, detail, errors) from problem
    try:
        return {**options.model_dump(mode="json"), "pipeline": options.check_pipeline()}
    except (RecursionError, PydanticSerializationError) as problem:
        raise Problem(422, "pipeline: nested too deep", [("pipeline", "nested too deep")]) from problem


@router.get("", responses=answers(JobsAnswer, 422))
@needs(Scope.READ)
async def list_jobs(
    service: Service,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    state: Annotated[
        Literal["queued", "running", "done", "failed", "cancelled"] | None,
        Query(description="those in it alone"),
    ] = None,
    newest: Annotated[bool, Query(description="those that came last, in one page")] = False,
) -> dict[str, Any]:
    """The jobs there are, page by page."""
    if newest and after is not None:
        raise Problem(422, "after: not with newest, which is one page", [("after", "not with newest")])
    jobs = await service.jobs.store.page(after, limit + 1, state, newest)
    shown = jobs[:limit]
    return {
        "jobs": [await _describe(service, job) for job in shown],
        "next": shown[-1].id if len(jobs) > limit and not newest else None,
    }


@router.get("/{job_id}", responses=answers(JobAnswer, 404, 422))
@needs(Scope.READ)
async def get_job(job_id: JobId, service: Service) -> dict[str, Any]:
    """One job: its state, how far it is, and its artifacts."""
    return await _describe(service, await _find(service, job_id))


@router.post("/{job_id}/retry", status_code=202, responses=answers(JobAnswer, 404, 409, 422, 503, status=202))
@needs(Scope.STREAM)
async def retry_job(job_id: JobId, response: Response, service: Service) -> dict[str, Any]:
    """Run a job that failed or was cancelled once more; what became of it before is in its `history`."""
    service.demand_ready()
    job = await _find(service, job_id)
    again = await service.jobs.retry(job_id)
    if again is None:
        raise Problem(409, f"the job is {job.state}: only one that failed or was cancelled runs again")
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return await _describe(service, again)


@router.delete("/{job_id}", status_code=204, responses=responses(404, 422))
@needs(Scope.STREAM)
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
        200: {"content": {"text/event-stream": {"schema": {"type": "object"}}}},
        **responses(404, 422),
    },
)
@needs(Scope.READ)
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
@needs(Scope.READ)
async def get_artifact(
    job_id: JobId, name: Annotated[str, Path(max_length=128)], service: Service
) -> FileResponse:
    """One file of a finished job; ranges are served."""
    job = await _find(service, job_id)
    found = {one["name"]: one for one in _artifacts(job)}
    path = service.jobs.answers(job_id) / name
    if name not in found or not path.is_file():
        raise Problem(404, f"no such artifact; there are {', '.join(sorted(found)) or 'none yet'}")
    sum_ = str(found[name]["sha256"])
    return FileResponse(
        path,
        headers={
            "ETag": f'"{sum_}"',
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sum_)).decode()}:",
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
            async with asyncio.timeout(_HEARTBEAT_S):
                await changed.wait()
        except TimeoutError:
            yield ": still there\n\n"


async def _find(service: Service, job_id: str) -> Job:
    job = await service.jobs.store.get(job_id)
    if job is None:
        raise Problem(404, "no such job")
    return job


async def _describe(service: Service, job: Job) -> dict[str, Any]:
    live = service.jobs.live(job.id) if job.state not in OVER else None
    events, rows = service.jobs.counts(job)
    below = f"{service.settings.root_path}/v1/jobs/{job.id}/artifacts"
    return {
        "id": job.id, "state": job.state, "name": job.name, "error": job.error,
        "created_s": job.created_s, "finished_s": job.finished_s, "attempts": job.attempts,
        "done": live.fraction if live else float(job.state == DONE),
        "eta_s": live.eta_s if live else None, "priority": job.priority, "history": job.history,
        "events": events, "rows": rows,
        "artifacts": [{**one, "url": f"{below}/{one['name']}"} for one in _artifacts(job)],
    }  # fmt: skip


def _artifacts(job: Job) -> list[dict[str, Any]]:
    """Files of a job that is done; none of one that is not."""
    return job.artifacts if job.state == DONE else []
