"""Who may speak to the service, and how much: before anything else looks at a request.

Host is checked on everything, Origin on every unsafe method and every upgrade (a page of another site,
or a name rebound to this address, must not reach a service that listens on loopback). A missing Origin
is no browser and passes; ``null`` and another port are foreign. Then the token and its scope, how often
its bearer asked lately, and how large a body is and how slowly it comes. What changes anything, and what was
refused for want of a right, leaves a line in the audit log, without query and without token.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import re
import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from service.access.active_requests import ActiveRequests
from service.access.rate_limiter import PerMinute
from service.access.scopes import SAFE, Scopes
from service.access.sessions import COOKIE, Sessions
from service.access.tokens import Token, TokenError, Tokens
from service.http.problems import Problem
from service.settings import Settings

TOKEN_PROTOCOL = "polychrony.token."  # noqa: S105 - the name of a subprotocol
_UPLOADS = re.compile(r"/v1/(jobs|models|uploads(/[0-9a-f]{32})?)$")
_UPLOADED = frozenset({"multipart/form-data", "application/offset+octet-stream"})
_MOST_DIGITS = 18
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, HEAD",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Tus-Resumable, Upload-Length, "
    "Upload-Metadata, Upload-Offset",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = b"Location, Upload-Offset, Upload-Length, Upload-Expires, Tus-Resumable, ETag"
_audit = structlog.get_logger("audit")


class Guard:
    """ASGI middleware that refuses with an HTTP status, also before an upgrade."""

    def __init__(
        self, app: ASGIApp, settings: Settings, tokens: Tokens, sessions: Sessions, failures: PerMinute,
        under_way: ActiveRequests, scopes: Scopes,
    ) -> None:  # fmt: skip
        self._app, self._settings, self._tokens, self._sessions = app, settings, tokens, sessions
        self._under_way, self._scopes = under_way, scopes
        named = {host.lower() for host in (*settings.allowed_hosts, *settings.internal_hosts)}
        self._hosts = {"localhost", settings.host} | named
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}
        self._requests, self._failures = PerMinute(settings.requests_per_minute), failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        send = self._answering(request, scope, send)
        try:
            if self._is_preflight(request, scope):
                await Response(status_code=204, headers=_CORS)(scope, receive, send)
                return
            self._check_host_and_origin(request, scope)
            who, good = self._check_right(request, scope)
            scope.setdefault("state", {})["token"] = who
            if scope["type"] == "http":
                receive = self._bounded(request, scope, receive)
        except Problem as problem:
            await refuse(problem.response(), scope, receive, send)
            return
        await self._under_way.run(self._app, good, scope, receive, send)

    def _check_host_and_origin(self, request: HTTPConnection, scope: Scope) -> None:
        if not scope[
            "path"
        ].isprintable():  # routes match before a final newline; scopes must not be told apart by it
            raise Problem(400, "the path holds characters that do not print")
        host = request.headers.get("host", "")
        if _name(host) not in self._hosts and not _is_number(_name(host)):
            raise Problem(
                421, f"Host {_name(host)[:100]!r} is not allowed; add it to the setting allowed_hosts"
            )
        origin = request.headers.get("origin")
        if origin is None or (scope["type"] == "http" and scope["method"] in SAFE):
            return
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        if origin.lower() not in {f"{scheme}://{host}".lower(), *self._origins}:
            raise Problem(403, "requests from pages of another origin are refused")

    def _check_right(self, request: HTTPConnection, scope: Scope) -> tuple[str, Callable[[], bool] | None]:
        """(Who asks, where that one may; whether that one still would, None where everybody may)."""
        address = scope["client"][0] if scope.get("client") else "local"
        access = self._scopes.of(scope)
        if access.always:
            return "nobody", None
        try:
            (who, good), named = self._bearer(request, scope, address), "nobody"
            demanded = self._tokens.demanded
        except TokenError as problem:
            raise Problem(503, "the file of tokens cannot be read: see the log") from problem
        if not self._requests.hit(who.id if who else address):
            raise Problem(429, f"more than {self._settings.requests_per_minute} requests a minute",
                          headers={"Retry-After": "60"})  # fmt: skip
        if who is not None:
            named = f"{who.name} ({who.id})"
        if access.scope is None:
            return named, None
        if not demanded:
            return named, lambda: not self._tokens.demanded
        if who is None:
            raise Problem(401, "a token is needed", headers={"WWW-Authenticate": "Bearer"})
        if who.allows < access.scope:
            raise Problem(
                403, f"a token of scope {access.scope.name.lower()} is needed; this one has {who.scope}"
            )
        return named, good

    def _bearer(
        self, request: HTTPConnection, scope: Scope, address: str
    ) -> tuple[Token | None, Callable[[], bool] | None]:
        """(The token that a request brings, whether it is still good); too many wrong ones are not even looked at."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        secrets = [given] if scheme.lower() == "bearer" else []
        if scope["type"] == "websocket":
            secrets += _from_protocols(scope["subprotocols"])
        if secrets and not self._failures.test(address):
            raise Problem(429, "too many wrong tokens", headers={"Retry-After": "60"})
        for secret in secrets:
            if (token := self._tokens.find(secret)) is not None:
                return token, partial(self._tokens.holds, token)
        if secrets:
            self._failures.hit(address)
            return None, None
        cookie = request.cookies.get(COOKIE, "")
        found = self._sessions.find(cookie) if cookie else None
        return found, None if found is None else lambda: self._sessions.find(cookie) is not None

    def _is_preflight(self, request: HTTPConnection, scope: Scope) -> bool:
        return (
            scope["type"] == "http" and scope["method"] == "OPTIONS"
            and request.headers.get("origin", "").lower() in self._origins
            and "access-control-request-method" in request.headers
        )  # fmt: skip

    def _answering(self, request: HTTPConnection, scope: Scope, send: Send) -> Send:
        """What every answer gets: a line in the audit log where it matters, CORS where that was allowed."""
        origin = request.headers.get("origin", "")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE

        async def answer(message: Message) -> None:
            kind = message["type"]
            if kind in {"http.response.start", "websocket.http.response.start", "websocket.accept"}:
                status = message.get("status", 101)
                if changes or status in {401, 403, 421, 429}:
                    self._audit_access(scope, status)
                if origin.lower() in self._origins:
                    extra = [
                        (b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin"),
                        (b"access-control-expose-headers", _EXPOSED),
                    ]  # fmt: skip
                    message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        return answer

    def _audit_access(self, scope: Scope, status: int) -> None:
        address = scope["client"][0] if scope.get("client") else "local"
        method = scope.get("method", "WEBSOCKET")
        who = scope.get("state", {}).get("token", "nobody")
        _audit.info(
            "request", method=method, path=scope["path"][:200], status=status, who=who, client=address
        )

    def _bounded(self, request: HTTPConnection, scope: Scope, receive: Receive) -> Receive:
        """A body that is neither too large nor too slow."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        upload = kind in _UPLOADED and _UPLOADS.match(scope["path"])
        limit = None if upload else self._settings.max_body_bytes
        stated = request.headers.get("content-length", "")
        digits = stated.lstrip("0") if stated.isascii() and stated.isdigit() else ""
        if limit is not None and (len(digits) > _MOST_DIGITS or int(digits or "0") > limit):
            raise Problem(413, f"larger than {limit} bytes")
        settings, seen, over, waited_s = self._settings, 0, False, 0.0

        async def bounded() -> Message:
            nonlocal seen, over, waited_s
            if over:
                return await receive()
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(settings.body_timeout_s):
                    message = await receive()
            except TimeoutError as problem:
                raise Problem(408, f"no progress for {settings.body_timeout_s:g} s",
                              headers={"Connection": "close"}) from problem  # fmt: skip
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                waited_s += time.monotonic() - began_s
                if waited_s > settings.body_timeout_s + seen / settings.slowest_body_bytes_s:
                    raise Problem(408, f"slower than {settings.slowest_body_bytes_s} bytes/s",
                                  headers={"Connection": "close"})  # fmt: skip
                over = not message.get("more_body", False)
                if limit is not None and seen > limit:
                    raise Problem(413, f"larger than {limit} bytes", headers={"Connection": "close"})
            return message

        return bounded


async def refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or an upgrade that is not to be, with ``response``."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
        return
    if not {b"content-length", b"transfer-encoding"}.isdisjoint(name for name, _ in scope["headers"]):
        response.headers["Connection"] = "close"  # its body is not even looked at
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
