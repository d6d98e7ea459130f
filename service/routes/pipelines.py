"""``/v1/pipelines``: what a stream can go through; presets, and pipelines that users keep."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query

from pipeline import library
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.spec import SpecError, parse, preset, presets, validate, written
from pipeline.stages import KINDS
from service.access.scopes import needs
from service.access.tokens import Scope
from service.http.problems import Problem, answers, made, responses
from service.routes.answers import PipelineAnswer, PipelinesAnswer, ValidAnswer
from service.routes.state import Service
from service.storage.ports import Catalogue

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])
Name = Annotated[str, Path(pattern=library.NAME, description="name of the pipeline")]
_EXAMPLE = {"stages": [{"id": "quiet", "kind": "refractory", "period_us": 500}]}
Document = Annotated[dict[str, Any], Body(embed=True, examples=[_EXAMPLE])]
_MADE = made(
    200, PipelineAnswer, "name", ("get_pipeline", "activate_pipeline", "delete_pipeline"), key="name",
)  # fmt: skip


@router.get("", responses=answers(PipelinesAnswer))
@needs(Scope.READ)
async def list_pipelines(service: Service) -> dict[str, Any]:
    """The presets, the pipelines that are kept, and the JSON schema of every kind of stage."""
    kept = service.pipelines
    return {
        "presets": [{"name": name, "pipeline": preset(name).model_dump(mode="json")} for name in presets()],
        "own": await asyncio.to_thread(lambda: [_listed(kept, name) for name in kept.names()]),
        "kinds": {kind: config.model_json_schema() for kind, config in KINDS.items()},
    }


@router.post("/validate", responses=answers(ValidAnswer, 400, 422))
@needs(Scope.READ)
async def validate_pipeline(
    pipeline: Document,
    service: Service,
    sensor: Annotated[Sensor | None, Body(embed=True, examples=[{"width": 64, "height": 48}])] = None,
) -> dict[str, Any]:
    """Whether a pipeline can be used, and what it would answer; else what is wrong with it and where."""
    hold = service.streams.hold()
    try:
        graph = await asyncio.to_thread(lambda: Graph(validate(pipeline), sensor, take=hold.take))
    finally:
        hold.release()
    return {
        "fingerprint": graph.fingerprint,
        "outputs": [
            {"name": name, "kind": port.kind, "width": port.width, "height": port.height,
             "labels": [label.name for label in port.labels]}
            for name, port in graph.outputs.items()
        ],
    }  # fmt: skip


@router.get("/{name}", responses=answers(PipelineAnswer, 404, 422))
@needs(Scope.READ)
async def get_pipeline(
    name: Name,
    service: Service,
    version: Annotated[int | None, Query(ge=1, le=2**31, description="default: the active one")] = None,
) -> dict[str, Any]:
    """A pipeline with its versions."""
    if name in presets():
        return {"name": name, "preset": True, "pipeline": preset(name).model_dump(mode="json")}
    return await asyncio.to_thread(_described, service.pipelines, name, version)


@router.put("/{name}", responses={**_MADE, **responses(409, 422, 503)})
@needs(Scope.ADMIN)
async def put_pipeline(name: Name, pipeline: Document, service: Service) -> dict[str, Any]:
    """Keep a pipeline under a name, as a new version that becomes the active one."""
    if name in presets():
        raise Problem(409, f"{name} is a preset: give yours another name")
    service.demand_ready()
    await asyncio.to_thread(service.pipelines.put, name, written(validate(pipeline)))
    return await asyncio.to_thread(_described, service.pipelines, name)


@router.post("/{name}/activate", responses=answers(PipelineAnswer, 400, 404, 422))
@needs(Scope.ADMIN)
async def activate_pipeline(
    name: Name, service: Service, version: Annotated[int, Body(embed=True, ge=1, le=2**31)]
) -> dict[str, Any]:
    """Make a version the one that the name stands for; streams that are open keep theirs."""
    kept = service.pipelines
    await asyncio.to_thread(_described, kept, name, version)  # one that cannot be used is not activated
    await asyncio.to_thread(kept.activate, name, str(version))
    return await asyncio.to_thread(_described, kept, name)


@router.delete("/{name}", status_code=204, responses=responses(404, 409, 422))
@needs(Scope.ADMIN)
async def delete_pipeline(name: Name, service: Service) -> None:
    """Forget a pipeline with all its versions; streams that were opened with it keep their copy."""
    if name in presets():
        raise Problem(409, "presets stay")
    await asyncio.to_thread(lambda: service.pipelines.remove(_known_name(service.pipelines, name)))


def _known_name(kept: Catalogue[str], name: str) -> str:
    if name not in kept.names():
        raise Problem(404, "no such pipeline")
    return name


def _listed(kept: Catalogue[str], name: str) -> dict[str, Any]:
    """A pipeline, or what is wrong with it: one that is broken hides no other."""
    try:
        return _described(kept, name)
    except (Problem, SpecError, OSError, ValueError) as problem:
        return {"name": name, "preset": False, "error": getattr(problem, "detail", None) or str(problem)}


def _described(kept: Catalogue[str], name: str, version: int | None = None) -> dict[str, Any]:
    active = int(kept.active(_known_name(kept, name)))
    try:
        spec = parse(kept.read(name, str(version or active)))
    except SpecError as problem:
        raise Problem(404 if version else 422, str(problem)) from problem
    return {
        "name": name, "preset": False, "versions": [int(one) for one in kept.versions(name)], "active": active,
        "version": version or active, "pipeline": spec.model_dump(mode="json"),
    }  # fmt: skip
