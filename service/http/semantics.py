"""What HTTP expects of every resource, in one place: HEAD wherever there is GET, Allow, and 304 for what is known."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OWN_HEAD = re.compile(r"/v1/uploads/[^/]+$")
"""Resources that answer HEAD themselves."""


class HttpSemantics:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        prefix: below which a proxy shows it; a path is taken with it and without.
    """

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if self._prefix and scope["type"] in {"http", "websocket"}:
            if (
                scope["path"] == self._prefix and scope["type"] == "http"
            ):  # links of the page lie below a slash
                await Response(status_code=308, headers={"Location": f"{self._prefix}/"})(
                    scope, receive, send
                )
                return
            if scope["path"].startswith(f"{self._prefix}/"):
                scope = {**scope, "path": scope["path"].removeprefix(self._prefix)}
            send = self._below_prefix(send)
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        only_head = scope["method"] == "HEAD" and not _OWN_HEAD.match(scope["path"])
        answer = _Answer(send, _header(scope["headers"], b"if-none-match"), only_head)
        try:
            await self._app({**scope, "method": "GET"} if only_head else scope, receive, answer.send)
        except _Enough:
            pass
        except BaseExceptionGroup as several:  # raised inside of a task of the answer's
            if several.split(_Enough)[1] is not None:
                raise

    def _below_prefix(self, send: Send) -> Send:
        """Addresses of what was made, as the client sees them."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (
                        name,
                        self._prefix.encode() + value if name == b"location" and value[:1] == b"/" else value,
                    )
                    for name, value in message.get("headers", [])
                ]
            await send(message)

        return answer


class _Enough(Exception):
    """All that is to be said was said."""


class _Answer:
    """An answer on its way, of which the body may be nobody's business."""

    def __init__(self, send: Send, known: bytes, only_head: bool) -> None:
        self._send, self._known, self._no_body = send, known, only_head

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            if message["status"] == 200 and _is_known(_header(message["headers"], b"etag"), self._known):
                self._no_body = True
                kept = [one for one in message["headers"] if one[0].lower() not in _OF_A_BODY]
                message = {**message, "status": 304, "headers": kept}
            await self._send(message)
            return
        if not self._no_body:
            await self._send(message)
            return
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        raise _Enough


_OF_A_BODY = frozenset({b"content-length", b"content-type", b"content-encoding"})


def _is_known(tag: bytes, known: bytes) -> bool:
    """Whether a client that names what it has has this, by RFC 9110: weak tags count as the same."""
    if not tag or not known:
        return False
    names = [one.strip().removeprefix(b"W/") for one in known.split(b",")]
    return known.strip() == b"*" or tag.removeprefix(b"W/") in names


def _header(headers: Any, name: bytes) -> bytes:
    return b",".join(value for key, value in headers if key.lower() == name)


def methods_of(routes: list[BaseRoute], scope: Scope) -> set[str]:
    """The methods that any route answers at a path; HEAD where there is GET."""
    found = {
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    }
    return found | ({"HEAD"} if "GET" in found else set())


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
