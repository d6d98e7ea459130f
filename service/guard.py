"""Who may speak to the service: Host, Origin and token, before anything else looks at a request.

Host is checked on everything, Origin on every unsafe method and every upgrade (a page of another site,
or a name rebound to this address, must not reach a service that listens on loopback). A missing Origin
is no browser and passes; ``null`` and another port are foreign.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from service.problems import Problem
from service.settings import Settings

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/"})
TOKEN_PROTOCOL = "polychrony.token."  # noqa: S105 - the name of a subprotocol
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware that refuses with an HTTP status, also before an upgrade."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = {"localhost", settings.host} | set(settings.allowed_hosts)
        self._token = settings.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        problem = self._refusal(HTTPConnection(scope), scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await refuse(problem.response(), scope, receive, send)

    def _refusal(self, request: HTTPConnection, scope: Scope) -> Problem | None:
        host = request.headers.get("host", "")
        if _name(host) not in self._hosts and not _is_number(_name(host)):
            return Problem(421, "this service is not known by the name in Host")
        upgrade = scope["type"] == "websocket"
        origin = request.headers.get("origin")
        if origin is not None and (upgrade or scope["method"] not in _SAFE):
            scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
            if origin.lower() != f"{scheme}://{host}".lower():
                return Problem(403, "requests from pages of another origin are refused")
        if self._token is not None and not self._known(request, scope, upgrade):
            return Problem(401, "a token is needed", headers={"WWW-Authenticate": "Bearer"})
        return None

    def _known(self, request: HTTPConnection, scope: Scope, upgrade: bool) -> bool:
        if not upgrade and (scope["path"] in OPEN_PATHS or scope["path"].startswith("/static/")):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        tokens = [given] if scheme.lower() == "bearer" else []
        if upgrade:
            tokens += _from_protocols(scope["subprotocols"])
        return any(hmac.compare_digest(token.encode(), (self._token or "").encode()) for token in tokens)


async def refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or an upgrade that is not to be, with ``response``."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


def _name(host: str) -> str:
    """Host without its port."""
    if host.startswith("["):
        return host[: host.find("]") + 1].lower()
    return host.partition(":")[0].lower()


def _is_number(name: str) -> bool:
    """Whether a host is an address: no page of another site can be made to resolve to it."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _from_protocols(protocols: Iterable[str]) -> list[str]:
    found: list[str] = []
    for protocol in protocols:
        if protocol.startswith(TOKEN_PROTOCOL):
            text = protocol.removeprefix(TOKEN_PROTOCOL)
            try:
                found.append(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
            except (binascii.Error, UnicodeDecodeError):
                continue
    return found
