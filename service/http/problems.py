"""Errors as RFC 9457 problem documents: which field, what is wrong, what is allowed."""

from __future__ import annotations

import errno
import json
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.errors import UserError, in_words
from pipeline.spec import SpecError
from service.http.semantics import methods_of

_log = structlog.get_logger("service")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LATER = {"Retry-After": "10"}
MEDIA_TYPE = "application/problem+json"


class _Printable(JSONResponse):
    """JSON of what a client sent, too, which may hold halves of characters."""

    def render(self, content: Any) -> bytes:
        """See Starlette."""
        return json.dumps(content, separators=(",", ":")).encode()


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        detail: one line: what is wrong and what is allowed.
        errors: (path, problem) of the fields to blame.
        headers: to go with it.
    """

    def __init__(
        self, status: int, detail: str,
        errors: list[tuple[str, str]] | None = None, headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, errors or [], headers

    def response(self) -> JSONResponse:
        """The document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"path": path, "problem": problem} for path, problem in self.errors]
        return _Printable(document, self.status, self.headers, MEDIA_TYPE)


def of_spec(error: SpecError) -> Problem:
    """What a pipeline that cannot be used answers."""
    path = f"pipeline.{error.path}" if error.path else "pipeline"
    return Problem(422, str(error), [(path, error.problem)])


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(UserError, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(PydanticSerializationError, _answer_halves)
    for kind in (OSError, SQLAlchemyError, MemoryError):
        app.add_exception_handler(kind, _answer_fault)
    app.add_exception_handler(Exception, _answer_fault)
    app.router.default = _no_such_socket(app.router.default)


def _no_such_socket(default: ASGIApp) -> ASGIApp:
    """What answers where no route does: an upgrade gets a document, too."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            problem = Problem(404, "no socket is here")
            await WebSocket(scope, receive, send).send_denial_response(problem.response())
            return
        await default(scope, receive, send)

    return answer


async def _answer_fault(request: Request, error: Exception) -> JSONResponse:
    """What the system does not let the service do: which of it, and that it may be tried again."""
    if (problem := of_system(error)) is None:
        return Problem(500, f"a fault of the service: {type(error).__name__}; see its log").response()
    said = {"problem": str(error).splitlines()[0][:300]}
    if isinstance(error, OSError):  # its file may have a name of its own each time, and is no other cause
        said = {"problem": error.strerror or type(error).__name__, "file": str(error.filename)[:300]}
    _log.error("the system refused", path=request.url.path[:200], **said)
    return problem.response()


async def _answer_halves(request: Request, error: Exception) -> JSONResponse:
    """JSON can name half of a character, which no text can hold: nothing was made from it."""
    if "surrogates not allowed" not in str(error):
        return await _answer_fault(request, error)
    return Problem(422, "a text holds half of a character (a lone surrogate, \\ud800 to \\udfff)").response()


def of_system(error: BaseException) -> Problem | None:
    """The problem that a fault of disk or memory stands for; None for any other."""
    words = str(error)
    if isinstance(error, MemoryError):
        return Problem(503, "there is not enough memory for it now", headers=_LATER)
    if (isinstance(error, OSError) and error.errno in FULL) or "disk is full" in words:
        return Problem(507, "the disk is full: make room in the data folder", headers=_LATER)
    if isinstance(error, OSError):
        return Problem(
            503, f"the data folder cannot be used: {error.strerror or 'see the log'}", headers=_LATER
        )
    if isinstance(error, SQLAlchemyError):
        why = "it is read-only" if "readonly" in words else "see the log"
        return Problem(503, f"a database in the data folder cannot be used: {why}", headers=_LATER)
    return None


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = as_problem(error)
    if problem.status == 405:
        allowed = methods_of(request.app.router.routes, request.scope)
        problem.headers = {**(problem.headers or {}), "Allow": ", ".join(sorted(allowed))}
    return problem.response()


def as_problem(error: Exception) -> Problem:
    """The problem that an exception stands for."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, SpecError):
        return of_spec(error)
    if isinstance(error, RequestValidationError):
        errors = [(_path(one["loc"]), in_words(one)) for one in error.errors()]
        return Problem(422, ": ".join(errors[0]) if errors else "invalid request", errors)
    if isinstance(error, HTTPException) and isinstance(error.__cause__, Problem):
        return error.__cause__  # FastAPI has wrapped what the guard said of a body
    if isinstance(error, HTTPException):
        headers = dict(error.headers) if error.headers else None
        return Problem(error.status_code, str(error.detail), headers=headers)
    return Problem(422, str(error))


def _path(location: tuple[Any, ...] | list[Any]) -> str:
    return ".".join(str(part) for part in location if part not in {"body", "query", "path"}) or "body"


SCHEMA: dict[str, Any] = {
    "title": "Problem", "description": "Why a request was refused (RFC 9457).", "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, where, and what is allowed"},
        "errors": {"type": "array", "items": {
            "title": "ProblemAt", "type": "object",
            "properties": {"path": {"type": "string"}, "problem": {"type": "string"}}}},
    },
}  # fmt: skip
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (400, 401, 403, 404, 408, 409, 412, 413, 415, 421, 422, 423, 429, 503, 507)
}  # fmt: skip


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route documents that it may answer."""
    return {status: RESPONSES[status] for status in (400, 401, 403, 408, 413, 421, 429, *statuses)}


def answers(model: type[BaseModel], *statuses: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route documents that it answers with, and that it may refuse with ``statuses``."""
    return {status: {"model": model}, **responses(*statuses)}


def made(
    status: int, model: type[BaseModel], name: str, operations: tuple[str, ...], key: str = "id"
) -> dict[int | str, dict[str, Any]]:
    """What a route that makes something documents of its answer: which operations go on with it.

    Args:
        status: of the answer.
        model: of the answer.
        name: the parameter of these operations that names what was made.
        operations: their ids.
        key: of what names it in the answer.
    """
    return {status: {
        "model": model,
        "headers": {"Location": {"description": "where it is", "schema": {"type": "string"}}},
        "links": {
            operation: {"operationId": operation, "parameters": {name: f"$response.body#/{key}"}}
            for operation in operations
        },
    }}  # fmt: skip


def operation_id(route: Any) -> str:
    """A route's id in the OpenAPI document: the name of its function."""
    return str(route.name)
