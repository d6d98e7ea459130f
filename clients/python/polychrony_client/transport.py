"""Requests and sockets of one service."""

from __future__ import annotations

import base64
import json
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from polychrony_client.errors import Refused, Unreachable

_PROTOCOL = "polychrony.v1"


class Transport:
    """The way to a service.

    Args:
        url: of the service, such as ``http://127.0.0.1:8700``.
        token: where the service demands one.
        patience_s: how long to wait for an answer, or for a service that went away.
    """

    def __init__(self, url: str, token: str | None = None, patience_s: float = 30) -> None:
        self.url, self.patience_s = url.rstrip("/"), patience_s
        self._token = token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=patience_s, trust_env=False)

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
            raise _refused(response)
        return response

    def connect(self, path: str) -> ClientConnection:
        """A WebSocket of the service.

        Raises:
            Refused: the upgrade was refused.
            Unreachable: nobody answered.
        """
        protocols: list[Any] = [_PROTOCOL]
        if self._token:
            encoded = base64.urlsafe_b64encode(self._token.encode()).decode().rstrip("=")
            protocols.append(f"polychrony.token.{encoded}")
        url = self.url.replace("http", "ws", 1) + path
        try:
            opened = connect(
                url, subprotocols=protocols, compression=None, max_size=64 << 20, proxy=None,
                open_timeout=self.patience_s,
            )  # fmt: skip
            return opened.__enter__()  # whoever asked for it closes it
        except InvalidStatus as problem:
            raise _refusal(problem) from problem
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


def _refused(response: httpx.Response) -> Refused:
    try:
        document = response.json()
        return Refused(response.status_code, document["detail"], document.get("errors"))
    except (ValueError, KeyError, TypeError):
        return Refused(response.status_code, response.reason_phrase)


def _refusal(problem: InvalidStatus) -> Refused:
    """An upgrade that was refused, as the problem document says."""
    response = problem.response
    try:
        detail = json.loads(response.body or b"{}").get("detail", response.reason_phrase)
    except ValueError:
        detail = response.reason_phrase
    return Refused(response.status_code, detail)
