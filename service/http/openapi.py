"""The OpenAPI document: what FastAPI writes, with the answers that routes declare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from service.http.problems import SCHEMA


def install(app: FastAPI) -> None:
    """Have the application answer with the document."""
    write = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            write()["components"]["schemas"]["Problem"] = SCHEMA
            for schema in _answers(write()):
                # Beside the model that a route declares FastAPI describes what its function returns: a dict.
                if "$ref" in schema:
                    reference = schema["$ref"]
                    schema.clear()
                    schema["$ref"] = reference
        return write()

    app.openapi = document


def _answers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    yield content.get("schema", {})
