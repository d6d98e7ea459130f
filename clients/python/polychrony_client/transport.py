"""Requests and sockets of one service."""

from __future__ import annotations

import base64
import json
import ssl
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from polychrony_client.errors import Refused, Unreachable

_PROTOCOL = "polychrony.v1"
TOO_SLOW = 408
"""Of an upgrade: a request that was lost on its way is tried once more. Seen over TLS, once in hundreds."""


class Transport:
    """The way to a service.

    Args:
        url: of the service, such as ``http://127.0.0.1:8700``.
        token: where the service demands one.
        patience_s: how long to wait for an answer, or for a service that went away.
        verify: an SSL context that knows the service's certificate, where the system's does not.
    """

    def __init__(
        self, url: str, token: str | None = None, patience_s: float = 30, verify: ssl.SSLContext | bool = True
    ) -> None:
        self.url, self.patience_s = url.rstrip("/"), patience_s
        self._token = token
        self.http = httpx.Client(
            base_url=self.url, headers=headers_of(token), timeout=patience_s, trust_env=False, verify=verify
        )
        self._verify = verify

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the service.

        Raises:
            Refused: it answered with an error.
            Unreachable: it did not answer.
        """
        try:
            response = self.http.request(method, path, **options)
        except httpx.TransportError as problem:
            raise Unreachable(f"no answer from {self.url}: {problem}") from problem
        if response.is_error:
            raise refused(response)
        return response

    def connect(self, path: str) -> ClientConnection:
        """A WebSocket of the service.

        Raises:
            Refused: the upgrade was refused.
            Unreachable: nobody answered.
        """
        try:
            return self._connect(path)
        except Refused as problem:
            if problem.status != TOO_SLOW:
                raise
            return self._connect(path)

    def _connect(self, path: str) -> ClientConnection:
        url = self.url.replace("http", "ws", 1) + path
        try:
            opened = connect(
                url, subprotocols=protocols_of(self._token), compression=None, max_size=64 << 20, proxy=None,
                open_timeout=self.patience_s, **tls_of(url, self._verify),
            )  # fmt: skip
            return opened.__enter__()  # whoever asked for it closes it
        except InvalidStatus as problem:
            raise refusal(problem) from problem
        except (OSError, TimeoutError, InvalidHandshake) as problem:
            raise Unreachable(f"no answer from {self.url}: {problem}") from problem

    def close(self) -> None:
        """Let go of connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_lost(reason: Exception) -> bool:
    """Whether what went wrong will not mend itself: the service refused for good."""
    return isinstance(reason, Refused) and reason.status not in {408, 429, 502, 503, 504}


def tls_of(url: str, verify: ssl.SSLContext | bool) -> dict[str, Any]:
    """What a WebSocket over TLS is opened with."""
    return {"ssl": verify} if url.startswith("wss") and isinstance(verify, ssl.SSLContext) else {}


def headers_of(token: str | None) -> dict[str, str]:
    """What every request brings."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def protocols_of(token: str | None) -> list[Any]:
    """The subprotocols that a WebSocket asks for; a token goes as one."""
    if not token:
        return [_PROTOCOL]
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return [_PROTOCOL, f"polychrony.token.{encoded}"]


def refused(response: httpx.Response) -> Refused:
    """An answer that is an error, as the problem document says."""
    try:
        document = response.json()
        return Refused(response.status_code, document["detail"], document.get("errors"))
    except (ValueError, KeyError, TypeError):
        return Refused(response.status_code, response.reason_phrase)


def refusal(problem: InvalidStatus) -> Refused:
    """An upgrade that was refused, as the problem document says."""
    response = problem.response
    try:
        detail = json.loads(response.body or b"{}").get("detail", response.reason_phrase)
    except ValueError:
        detail = response.reason_phrase
    return Refused(response.status_code, detail)
