"""The way to a service."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from polychrony_client import streams
from polychrony_client.errors import Refused, Unreachable
from polychrony_client.jobs import Job
from polychrony_client.results import Result
from polychrony_client.streams import Stream

_PROTOCOL = "polychrony.v1"


class Client:
    """A client of one service.

    Args:
        url: of the service, such as ``http://127.0.0.1:8700``.
        token: where the service demands one.
        patience_s: how long to wait for an answer, or for a service that went away.
    """

    def __init__(self, url: str, token: str | None = None, patience_s: float = 30) -> None:
        self._url, self._token, self._patience_s = url.rstrip("/"), token, patience_s
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=self._url, headers=headers, timeout=patience_s, trust_env=False)

    def submit(self, path: str | Path, pipeline: str | dict[str, Any] = "motion", **options: Any) -> Job:
        """Upload a video or a recording to be analyzed.

        Args:
            path: the file.
            pipeline: name of a preset, or a pipeline.
            options: such as ``frame_rate``, ``sensor="640x480"``, ``from_s``, ``to_s``, ``roi``.

        Raises:
            Refused: the service does not take it.
        """
        fields = {name: str(value) for name, value in options.items() if value is not None}
        fields["pipeline"] = pipeline if isinstance(pipeline, str) else json.dumps(pipeline)
        with Path(path).open("rb") as file:
            answer = self.request("POST", "/v1/jobs", data=fields, files={"file": (Path(path).name, file)})
        return Job(self, answer.json())

    def job(self, id_: str) -> Job:
        """The job of this name."""
        return Job(self, self.request("GET", f"/v1/jobs/{id_}").json())

    def stream(
        self, pipeline: str | dict[str, Any] = "motion", sensor: tuple[int, int] | None = None, **options: Any
    ) -> Stream:
        """Open a stream.

        Args:
            pipeline: name of a preset, or a pipeline.
            sensor: (width, height), where the pipeline does not say.
            options: such as ``policy="realtime"``, ``max_latency_ms``, ``reorder_us``, ``idle_timeout_s``.

        Raises:
            Refused: the service does not take it.
        """
        document: dict[str, Any] = {"pipeline": pipeline, **options}
        if sensor is not None:
            document["sensor"] = {"width": sensor[0], "height": sensor[1]}
        return Stream(self, self.request("POST", "/v1/streams", json=document).json(), self._patience_s)

    def results(
        self, stream_id: str, *outputs: str,
        start: bool = False, after: dict[str, int] | None = None, lossless: bool = False,
    ) -> Iterator[Result]:  # fmt: skip
        """Results of any stream, as they come to be; see :meth:`Stream.results`."""
        query = [("output", output) for output in outputs]
        query += [("after", f"{output}:{row}") for output, row in (after or {}).items()]
        query += [("from", "start")] * start + [("delivery", "lossless")] * lossless
        path = f"/v1/streams/{stream_id}/results"
        return streams.iterate(self.connect(f"{path}?{urlencode(query)}" if query else path))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the service.

        Raises:
            Refused: it answered with an error.
            Unreachable: it did not answer.
        """
        try:
            response = self.http.request(method, path, **options)
        except httpx.TransportError as problem:
            raise Unreachable(f"no answer from {self._url}: {problem}") from problem
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
        url = self._url.replace("http", "ws", 1) + path
        try:
            opened = connect(
                url, subprotocols=protocols, compression=None, max_size=64 << 20, proxy=None,
                open_timeout=self._patience_s,
            )  # fmt: skip
            return opened.__enter__()  # whoever asked for it closes it
        except InvalidStatus as problem:
            raise streams.refusal(problem) from problem
        except (OSError, TimeoutError, InvalidHandshake) as problem:
            raise Unreachable(f"no answer from {self._url}: {problem}") from problem

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
