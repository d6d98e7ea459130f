"""``/v1/session``: a browser signs in with a token and gets a cookie for it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from service.access.scopes import open_to_all
from service.access.sessions import COOKIE
from service.http.problems import Problem, answers, responses
from service.routes.answers import SessionAnswer
from service.routes.state import Service

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.get("", responses=answers(SessionAnswer))
@open_to_all()
async def get_session(request: Request, service: Service) -> dict[str, Any]:
    """Whether a token is needed, and for whom this browser is signed in."""
    token = service.sessions.find(request.cookies.get(COOKIE, ""))
    return {
        "token_needed": service.tokens.demanded,
        "name": token.name if token else None, "scope": token.scope if token else None,
    }  # fmt: skip


@router.post("", responses=answers(SessionAnswer, 401, 422, 429))
@open_to_all()
async def begin_session(
    token: Annotated[str, Body(embed=True, min_length=1, max_length=200)], request: Request, response: Response,
    service: Service,
) -> dict[str, Any]:  # fmt: skip
    """Sign in: the answer sets a cookie that pages of this service send along, and that no script can read."""
    client = request.client.host if request.client else "local"
    if not service.failures.test(client):
        raise Problem(429, "too many wrong tokens", headers={"Retry-After": "60"})
    begun = service.sessions.begin(token)
    if begun is None:
        service.failures.hit(client)
        raise Problem(401, "no such token", headers={"WWW-Authenticate": "Bearer"})
    cookie, known = begun
    response.set_cookie(
        COOKIE, cookie, max_age=service.settings.session_s, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return {"name": known.name, "scope": known.scope}


@router.delete("", status_code=204, responses=responses())
@open_to_all()
async def end_session(request: Request, response: Response, service: Service) -> None:
    """Sign out."""
    service.sessions.end(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
