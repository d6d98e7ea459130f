"""``/v1/uploads``: resumable uploads, tus 1.0 with creation, creation-with-upload, expiration and termination."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem, made, responses
from service.routes.answers import UploadAnswer
from service.routes.state import Service
from service.storage.records import StoredUpload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
UploadId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="name of the upload")]
VERSION = "1.0.0"
_CHUNK = "application/offset+octet-stream"
_MOST_METADATA = 4096
_BODY: dict[str, Any] = {
    "requestBody": {"content": {_CHUNK: {"schema": {"type": "string", "format": "binary"}}}}
}
_MADE = made(
    201, UploadAnswer, "upload_id", ("get_upload", "continue_upload", "delete_upload"),
)  # fmt: skip
Resumable = Annotated[str | None, Header(alias="Tus-Resumable", description="1.0.0")]
Digits = Annotated[str | None, Header(max_length=20, description="bytes")]


@router.options("", status_code=204, responses=responses())
@needs(Scope.READ)
async def describe_uploads(response: Response, service: Service) -> None:
    """What this server can do (tus)."""
    response.headers.update({
        "Tus-Resumable": VERSION, "Tus-Version": VERSION,
        "Tus-Extension": "creation,creation-with-upload,expiration,termination",
        "Tus-Max-Size": str(service.settings.max_upload_bytes),
    })  # fmt: skip


@router.post(
    "", status_code=201, openapi_extra=_BODY, responses={**_MADE, **responses(412, 415, 422, 423, 503, 507)}
)
@needs(Scope.STREAM)
async def create_upload(
    request: Request, response: Response, service: Service, tus_resumable: Resumable = None,
    upload_length: Digits = None, upload_metadata: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:  # fmt: skip
    """Begin an upload of `Upload-Length` bytes; the first of them may come along."""
    _check_version(tus_resumable)
    service.demand_ready()
    first = request.headers.get("content-type", "").partition(";")[0] == _CHUNK
    upload = await service.uploads.create(
        _number("Upload-Length", upload_length), _metadata(upload_metadata or "")
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    if first:
        try:
            await service.uploads.append(upload.id, 0, _chunks(request))
        except BaseException:  # nobody hears of its name: it could not be gone on with
            await service.uploads.remove(upload.id)
            raise
        upload = await find(service, upload.id)
    _set_headers(service, upload, response)
    return {"id": upload.id, "offset": upload.offset, "length": upload.length}


@router.head("/{upload_id}", responses=responses(404, 412, 422))
@needs(Scope.READ)
async def get_upload(
    upload_id: UploadId, response: Response, service: Service, tus_resumable: Resumable = None
) -> None:
    """How far an upload has come."""
    _check_version(tus_resumable)
    upload = await find(service, upload_id)
    response.headers.update({"Upload-Length": str(upload.length), "Cache-Control": "no-store"})
    _set_headers(service, upload, response)


@router.patch(
    "/{upload_id}",
    status_code=204,
    openapi_extra=_BODY,
    responses=responses(400, 404, 408, 409, 412, 413, 415, 422, 423),
)
@needs(Scope.STREAM)
async def continue_upload(
    upload_id: UploadId, request: Request, response: Response, service: Service,
    tus_resumable: Resumable = None, upload_offset: Digits = None,
) -> None:  # fmt: skip
    """Add bytes behind `Upload-Offset`; those that came before a connection broke are kept."""
    _check_version(tus_resumable)
    await find(service, upload_id)
    if request.headers.get("content-type", "").partition(";")[0] != _CHUNK:
        raise Problem(415, f"Content-Type: allowed is {_CHUNK}")
    await service.uploads.append(upload_id, _number("Upload-Offset", upload_offset), _chunks(request))
    _set_headers(service, await find(service, upload_id), response)


@router.delete("/{upload_id}", status_code=204, responses=responses(404, 412, 422, 423))
@needs(Scope.STREAM)
async def delete_upload(
    upload_id: UploadId, response: Response, service: Service, tus_resumable: Resumable = None
) -> None:
    """Forget an upload."""
    _check_version(tus_resumable)
    await find(service, upload_id)
    service.uploads.demand_idle(upload_id)
    await service.uploads.remove(upload_id)
    response.headers["Tus-Resumable"] = VERSION


async def find(service: Service, upload_id: str) -> StoredUpload:
    """The upload of this name, or a 404."""
    upload = await service.uploads.find(upload_id)
    if upload is None:
        raise Problem(404, "no such upload")
    return upload


def _set_headers(service: Service, upload: StoredUpload, response: Response) -> None:
    response.headers.update({
        "Tus-Resumable": VERSION, "Upload-Offset": str(upload.offset),
        "Upload-Expires": formatdate(service.uploads.expires_s(upload), usegmt=True),
    })  # fmt: skip


def _check_version(stated: str | None) -> None:
    if stated != VERSION:
        raise Problem(412, f"Tus-Resumable: allowed is {VERSION}", headers={"Tus-Version": VERSION})


def _number(name: str, text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem(400, f"{name}: a number of bytes is needed")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """``key base64,key base64`` as pairs."""
    if len(text) > _MOST_METADATA:
        raise Problem(400, f"Upload-Metadata: at most {_MOST_METADATA} bytes")
    found: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise Problem(400, "Upload-Metadata: pairs of a key and base64, separated by commas") from None
    return found


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk
