"""``/v1/models``: the networks and banks that pipelines may name."""

from __future__ import annotations

import asyncio
import json
import shutil
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi import Path as UrlPath
from fastapi.responses import FileResponse
from pydantic import ValidationError
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from pipeline.errors import UserError
from pipeline.models import bundle, registry
from pipeline.models.bundle import ModelError
from pipeline.models.describe import describe
from pipeline.models.import_options import ImportOptions
from pipeline.sources.options import problems
from service.access.scopes import needs
from service.access.tokens import Scope
from service.host import child
from service.http.problems import Problem, answers, responses
from service.jobs import importing, upload
from service.routes.answers import ModelAnswer, ModelsAnswer
from service.routes.state import Service, ServiceState

router = APIRouter(prefix="/v1/models", tags=["models"])
ModelName = Annotated[str, UrlPath(pattern=bundle.NAME, description="name of the model")]

_SUFFIXES = (".zip", ".nir", ".onnx")
_MOST_BYTES = 2**29
_LIMITS = child.Limits(memory_bytes=4 * 2**30, file_bytes=_MOST_BYTES, cpu_seconds=120)
_OPTIONS = {
    "name": "name of the model; default: the file's",
    **{name: field.description or name for name, field in ImportOptions.model_fields.items()},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {
            "type": "object", "required": ["file"], "properties": {
                "file": {"type": "string", "format": "binary", "description": "a bundle (.zip), .nir or .onnx"},
                **{name: {"type": "string", "description": text} for name, text in _OPTIONS.items()},
            },
        }}},
    }
}  # fmt: skip


@router.get("", responses=answers(ModelsAnswer, 422))
@needs(Scope.READ)
async def list_models() -> dict[str, Any]:
    """All models: those that come with Polychrony, and those that were imported."""
    return {"models": await asyncio.to_thread(_all), "zoo": registry.zoo()}


@router.get("/{name}", responses=answers(ModelAnswer, 404, 422))
@needs(Scope.READ)
async def get_model(name: ModelName) -> dict[str, Any]:
    """A model's card, and what it costs."""
    return await asyncio.to_thread(_described, name)


@router.get("/{name}/export", response_class=FileResponse, responses=responses(404, 422))
@needs(Scope.READ)
async def export_model(
    name: ModelName,
    service: Service,
    format: Annotated[Literal["zip", "nir"], Query(description="how to write it")] = "zip",
) -> FileResponse:
    """A model as a bundle, or a spiking network as a NIR graph."""
    await asyncio.to_thread(_described, name)
    folder = Path(mkdtemp(prefix="export-", dir=service.settings.scratch_dir))
    target = folder / f"{name}.{format}"
    try:
        await asyncio.to_thread(registry.export, name, target)
    except ModelError as problem:
        shutil.rmtree(folder, ignore_errors=True)
        raise Problem(422, str(problem)) from problem
    kind = "application/zip" if format == "zip" else "application/x-hdf5"
    return _Passing(target, media_type=kind, filename=target.name)


@router.get(
    "/{name}/drawing",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **responses(404, 422),
    },
)
@needs(Scope.READ)
async def draw_model(
    name: ModelName, of: Annotated[Literal["kernels", "curves"], Query(description="of what")] = "kernels"
) -> Response:
    """What a model looks for and how good it is, as a picture; `curves`: what pruning a bank costs."""
    described = await asyncio.to_thread(_described, name)
    try:
        png = await asyncio.to_thread(_drawing, name, described["digest"], of)
    except ModelError as problem:
        raise Problem(422, str(problem)) from problem
    except UserError as problem:
        raise Problem(404, str(problem)) from problem
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    responses=answers(ModelAnswer, 400, 408, 413, 415, 422, 503, 507, status=201),
)
@needs(Scope.ADMIN)
async def import_model(request: Request, response: Response, service: Service) -> dict[str, Any]:
    """Import a model; its file is only read in a child process with limits."""
    service.demand_ready()
    folder = Path(mkdtemp(prefix="import-", dir=service.settings.scratch_dir))
    try:
        async with service.uploads.passing(request.headers.get("content-length", "")) as came:
            taken = await upload.receive(
                request.stream(), request.headers.get("content-type", ""), folder,
                min(_MOST_BYTES, service.settings.max_upload_bytes), came,
            )  # fmt: skip
        unknown = sorted(set(taken.fields) - set(_OPTIONS))
        if unknown:
            raise Problem(422, f"unknown field: allowed are file, {', '.join(_OPTIONS)}")
        if taken.path is None or taken.path.suffix not in _SUFFIXES:
            raise Problem(
                415,
                "a model is a .zip of a bundle, a .nir or an .onnx file; nothing that could run code is opened",
            )
        read = await _imported(taken, folder)
        model = await asyncio.to_thread(_kept, service, folder / importing.BUNDLE, read["name"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    response.headers["Location"] = f"/v1/models/{model['name']}"
    return model


@router.post("/{name}/activate", responses=answers(ModelAnswer, 400, 404, 409, 422))
@needs(Scope.ADMIN)
async def activate_model(
    name: ModelName, service: Service, version: Annotated[str, Body(embed=True, pattern="^[0-9a-f]{12}$")]
) -> dict[str, Any]:
    """Make a version the one that the name stands for; streams that are open keep theirs."""
    await asyncio.to_thread(_described, name)
    if name in registry.zoo():
        raise Problem(409, "models of the zoo have one version")
    try:
        await asyncio.to_thread(service.models.activate, name, version)
    except ModelError as problem:
        raise Problem(404, str(problem)) from problem
    return await asyncio.to_thread(_described, name)


@router.delete("/{name}", status_code=204, responses=responses(404, 409, 422))
@needs(Scope.ADMIN)
async def delete_model(name: ModelName, service: Service) -> None:
    """Forget an imported model with all its versions; refused while a stream or a job that waits uses it."""
    if name not in await asyncio.to_thread(registry.names):
        raise Problem(404, "no such model")
    if name in registry.zoo():
        raise Problem(409, "models of the zoo stay")
    users = [f"stream {id_}" for id_ in service.streams.users_of(name)]
    users += [f"job {id_}" for id_ in await service.jobs.users_of(name)]
    if users:
        raise Problem(409, f"in use by {', '.join(users[:5])}{' and others' if len(users) > 5 else ''}")
    await asyncio.to_thread(service.models.remove, name)


class _Passing(FileResponse):
    """A file that goes with its folder once it was sent, or was not wanted after all."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            shutil.rmtree(Path(self.path).parent, ignore_errors=True)


@lru_cache(maxsize=16)
def _drawing(name: str, digest: str, of: Literal["kernels", "curves"]) -> bytes:
    from pipeline.sinks.models import write_drawing  # noqa: PLC0415 - matplotlib, which most never need

    del digest  # another model of the name is another picture
    with TemporaryDirectory() as folder:
        path = Path(folder) / "drawing.png"
        write_drawing(path, registry.load(name), of)
        return path.read_bytes()


def _all() -> list[dict[str, Any]]:
    return [_listed(name) for name in registry.names()]


def _listed(name: str) -> dict[str, Any]:
    """A model, or what is wrong with it: one that is broken hides no other."""
    try:
        return _described(name)
    except Problem as problem:
        return {"name": name, "error": problem.detail}


def _described(name: str) -> dict[str, Any]:
    if name not in registry.names():
        raise Problem(404, "no such model")
    try:
        return {
            **describe(registry.load(name)),
            "versions": registry.versions(name),
            "zoo": name in registry.zoo(),
        }
    except ModelError as problem:
        raise Problem(422, str(problem)) from problem


def _path_of(taken: upload.Upload) -> Path:
    if taken.path is None:
        raise Problem(422, "file: missing", [("file", "missing")])
    return taken.path


def _parsed_fields(taken: upload.Upload) -> tuple[str | None, dict[str, Any]]:
    """(name, options as they were set) of the fields beside the file.

    Raises:
        Problem: they do not hold.
    """
    fields = {name: value for name, value in taken.fields.items() if value}
    is_bundle = _path_of(taken).suffix == ".zip"
    name = fields.pop("name", None if is_bundle else Path(taken.name).stem)
    try:
        options = ImportOptions.model_validate(fields)
    except ValidationError as problem:
        errors = problems(problem)
        raise Problem(422, f"{errors[0][0]}: {errors[0][1]}", errors) from problem
    return name, options.model_dump(mode="json", exclude_unset=True)


def _kept(service: ServiceState, made: Path, name: str) -> dict[str, Any]:
    try:
        service.models.put(name, made)
    except ModelError as problem:
        raise Problem(422, str(problem)) from problem
    return _described(name)


async def _imported(taken: upload.Upload, folder: Path) -> dict[str, Any]:
    request = importing.write_request(folder, _path_of(taken), *_parsed_fields(taken))
    importer = await child.start("import", str(request), limits=_LIMITS)
    try:
        async with asyncio.timeout(_LIMITS.cpu_seconds):
            answer = await importer.rest()
            said, status = await importer.last_words(), await importer.wait()
    except TimeoutError as problem:
        raise Problem(422, f"took longer than {_LIMITS.cpu_seconds} s to read") from problem
    finally:
        await importer.end()
    if status != 0:
        shown = said.replace(taken.path.name if taken.path else "", taken.name)
        raise Problem(422, shown[:500] or f"cannot be read: ended with status {status}")
    return json.loads(answer)
