"""``/v1/pipelines``: what a stream can go through."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from pipeline.graph import Graph
from pipeline.spec import Sensor, preset, presets, validate
from pipeline.stages import KINDS
from service.problems import responses

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])


@router.get("", responses=responses())
async def list_pipelines() -> dict[str, Any]:
    """The presets, and the JSON schema of every kind of stage."""
    return {
        "presets": [{"name": name, "pipeline": preset(name).model_dump(mode="json")} for name in presets()],
        "kinds": {kind: config.model_json_schema() for kind, config in KINDS.items()},
    }


@router.post("/validate", responses=responses(422))
async def validate_pipeline(
    pipeline: Annotated[dict[str, Any], Body(embed=True)],
    sensor: Annotated[Sensor | None, Body(embed=True)] = None,
) -> dict[str, Any]:
    """Whether a pipeline can be used, and what it would answer; else what is wrong with it and where."""
    graph = Graph(validate(pipeline), sensor)
    return {
        "fingerprint": graph.fingerprint,
        "outputs": [
            {"name": name, "kind": port.kind, "width": port.width, "height": port.height,
             "labels": [label.name for label in port.labels]}
            for name, port in graph.outputs.items()
        ],
    }  # fmt: skip
