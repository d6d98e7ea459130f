"""The same client for asyncio: what ``polychrony_client`` does, awaited."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from numpy.typing import ArrayLike, NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake, InvalidStatus

from polychrony_client import transport as shared
from polychrony_client import uploads
from polychrony_client.errors import (
    EventsLost,
    Refused,
    RowsGone,
    TimedOut,
    Unreachable,
    lost_events,
    told_gone,
    told_lost,
)
from polychrony_client.inbox import Inbox
from polychrony_client.jobs import OVER, check_sum, check_time, done_or_raise, end_of, left, silent
from polychrony_client.outbox import Draft, Outbox
from polychrony_client.results import Result
from polychrony_client.transport import is_lost
from polychrony_client.uploads import Progress, job_document, nobody

_BROKEN = (OSError, ConnectionClosed, InvalidHandshake, Refused, Unreachable)


class AsyncClient:
    """A client of one service.

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
        self._token, self._verify = token, verify
        headers = shared.headers_of(token)
        self.http = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=patience_s, trust_env=False, verify=verify
        )

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the service.

        Raises:
            Refused: it answered with an error.
            Unreachable: it did not answer.
        """
        try:
            response = await self.http.request(method, path, **options)
        except httpx.TransportError as problem:
            raise Unreachable(f"no answer from {self.url}: {problem}") from problem
        if response.is_error:
            raise shared.refused(response)
        return response

    async def connect(self, path: str) -> ClientConnection:
        """A WebSocket of the service.

        Raises:
            Refused: the upgrade was refused.
            Unreachable: nobody answered.
        """
        try:
            return await self._connect(path)
        except Refused as problem:
            if problem.status != shared.TOO_SLOW:
                raise
            return await self._connect(path)

    async def _connect(self, path: str) -> ClientConnection:
        url = self.url.replace("http", "ws", 1) + path
        try:
            return await connect(
                url, subprotocols=shared.protocols_of(self._token), compression=None, max_size=64 << 20, proxy=None,
                open_timeout=self.patience_s, **shared.tls_of(url, self._verify),
            )  # fmt: skip
        except InvalidStatus as problem:
            raise shared.refusal(problem) from problem
        except (OSError, TimeoutError, InvalidHandshake) as problem:
            raise Unreachable(f"no answer from {self.url}: {problem}") from problem

    async def submit(
        self, path: str | Path, pipeline: str | dict[str, Any] = "motion", *,
        key: str | None = None, progress: Progress = nobody, **options: Any,
    ) -> AsyncJob:  # fmt: skip
        """Upload a video or a recording to be analyzed; see :meth:`polychrony_client.Client.submit`."""
        key = key or secrets.token_hex(16)
        document = job_document(await self.upload(path, progress, options.get("format")), pipeline, options)
        answer = await self.request("POST", "/v1/jobs", json=document, headers={"Idempotency-Key": key})
        return AsyncJob(self, answer.json())

    async def upload(self, path: str | Path, progress: Progress = nobody, format_: str | None = None) -> str:
        """Bring a file to the service; see :meth:`polychrony_client.Client.upload`."""
        made = Path(path)
        return await self._send(await asyncio.to_thread(made.read_bytes), made.name, progress, format_)

    async def job(self, id_: str) -> AsyncJob:
        """The job of this name."""
        return AsyncJob(self, (await self.request("GET", f"/v1/jobs/{id_}")).json())

    async def stream(
        self, pipeline: str | dict[str, Any] = "motion", sensor: tuple[int, int] | None = None, **options: Any
    ) -> AsyncStream:
        """Open a stream; see :meth:`polychrony_client.Client.stream`."""
        document: dict[str, Any] = {"pipeline": pipeline, **options}
        if sensor is not None:
            document["sensor"] = {"width": sensor[0], "height": sensor[1]}
        return await self._opened((await self.request("POST", "/v1/streams", json=document)).json())

    async def upload_bytes(self, data: bytes, name: str = "upload") -> str:
        """Bring bytes to the service; the upload's id."""
        return await self._send(data, name, nobody)

    async def attach(self, id_: str) -> AsyncStream:
        """Go on feeding a stream that exists."""
        return await self._opened((await self.request("GET", f"/v1/streams/{id_}")).json())

    async def restore(self, snapshot: bytes) -> AsyncStream:
        """A stream that goes on from a snapshot of another."""
        id_ = await self.upload_bytes(snapshot, "snapshot.zip")
        return await self._opened((await self.request("POST", "/v1/streams", json={"snapshot": id_})).json())

    def results(
        self, stream_id: str, *outputs: str,
        start: bool = False, after: dict[str, int] | None = None, lossless: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Result]:  # fmt: skip
        """Results of any stream, as they come to be, over as many connections as it takes; every row once."""
        return _iterate(self, Inbox(stream_id, outputs, start, after, lossless), timeout_s)

    async def close(self) -> None:
        """Let go of connections."""
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _opened(self, description: dict[str, Any]) -> AsyncStream:
        stream = AsyncStream(self, description)
        if description.get("source") is None:
            await stream.connect()
        return stream

    async def _send(self, data: bytes, name: str, progress: Progress, format_: str | None = None) -> str:
        headers = uploads.create_headers(name, len(data), format_)
        id_ = (await self.request("POST", "/v1/uploads", headers=headers)).json()["id"]
        url, offset = f"/v1/uploads/{id_}", 0
        deadline, pause = time.monotonic() + self.patience_s, 0.05
        while offset < len(data):
            part = data[offset : offset + uploads.PART]
            try:
                answer = await self.request("PATCH", url, content=part, headers=uploads.part_headers(offset))
                offset = int(answer.headers["Upload-Offset"])
            except (Refused, Unreachable) as problem:
                conflict = isinstance(problem, Refused) and problem.status in {409, 423}
                if (is_lost(problem) and not conflict) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(2.0, pause * 2)
                offset = await self._offset(url, offset)
            else:
                deadline, pause = time.monotonic() + self.patience_s, 0.05
                progress(offset, len(data))
        return str(id_)

    async def _offset(self, url: str, known: int) -> int:
        try:
            return int((await self.request("HEAD", url, headers=uploads.VERSION)).headers["Upload-Offset"])
        except (Refused, Unreachable) as problem:
            if is_lost(problem):
                raise
            return known


class AsyncStream:
    """An open stream; made by :meth:`AsyncClient.stream`. Use it from one task.

    Attributes:
        id: its name.
        description: what the service said of it.
        reconnects: how often the connection broke and was resumed.
    """

    def __init__(self, client: AsyncClient, description: dict[str, Any]) -> None:
        self.id: str = description["id"]
        self.description = description
        self.reconnects = 0
        self._client, self._out = client, Outbox()
        self._socket: ClientConnection | None = None

    async def connect(self) -> None:
        """Connect, and send again what the service does not have."""
        socket = await self._client.connect(f"/v1/streams/{self.id}/ingest")
        try:
            for sent in self._out.resume(json.loads(await self._receive(socket))):
                while not self._out.fits(sent):
                    self._out.hear(json.loads(await self._receive(socket)))
                await socket.send(sent.data)
        except BaseException:
            await socket.close()
            raise
        self._socket = socket

    async def send(
        self, events: Any, x: ArrayLike | None = None, y: ArrayLike | None = None, p: ArrayLike | None = None,
        *, columns: str | None = None, unit: str | None = None,
    ) -> None:  # fmt: skip
        """Send events; see :meth:`polychrony_client.Stream.send`."""
        for draft in self._out.events(events, x, y, p, columns, unit):
            await self._put(draft)

    async def send_camera_bytes(self, data: bytes, encoding: str, t_zero_us: int = 0) -> None:
        """Send EVT2 or EVT3 bytes as the camera sent them, without a ``%`` header."""
        for draft in self._out.camera_bytes(data, encoding, t_zero_us):
            await self._put(draft)

    async def send_triggers(self, t: ArrayLike, channel: ArrayLike, level: ArrayLike) -> None:
        """Send edges on the camera's trigger inputs."""
        for draft in self._out.triggers(t, channel, level):
            await self._put(draft)

    async def heartbeat(self, t_us: int) -> None:
        """Say that no later event is earlier than ``t_us``."""
        await self._put(self._out.heartbeat(t_us))

    async def label(self, output: str, label: str | None, from_us: int, to_us: int) -> None:
        """Say what was seen in (from_us, to_us], so that a stage with ``learn`` learns it."""
        await self._put(self._out.label(output, label, from_us, to_us))

    async def gap(self, t_us: int) -> None:
        """Say that events before ``t_us`` were lost."""
        await self._put(self._out.gap(t_us))

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the service has everything for good; see :meth:`polychrony_client.Stream.flush`."""
        await self._wait(lambda: self._out.unacknowledged == 0, "flush", timeout_s or self._client.patience_s)

    async def end(self, t_us: int | None = None, timeout_s: float = 600.0) -> dict[str, Any]:
        """End the stream and wait until all results exist; see :meth:`polychrony_client.Stream.end`."""
        if self._out.final is None:
            await self._put(self._out.end(t_us))
        await self._wait(lambda: self._out.final is not None, "end", timeout_s)
        await self.close()
        final = {**(self._out.final or {}), "dropped": (await self.stats())["dropped"]}
        if lost := lost_events(final):
            warnings.warn(told_lost(self.id, lost), EventsLost, stacklevel=2)
        return final

    def results(
        self, *outputs: str, start: bool = True, after: dict[str, int] | None = None, lossless: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Result]:  # fmt: skip
        """Results as they come to be, until the stream ends; see :meth:`polychrony_client.Stream.results`."""
        return self._client.results(
            self.id, *outputs, start=start, after=after, lossless=lossless, timeout_s=timeout_s
        )

    async def rows(self, output: str) -> dict[str, NDArray[Any]]:
        """All rows of an output of an ended stream, as columns; see :meth:`polychrony_client.Stream.rows`."""
        inbox = Inbox(self.id, (output,), True, None, False)
        found = [one async for one in _iterate(self._client, inbox, self._client.patience_s)]
        columns, gone = inbox.columns(found, output)
        if gone:
            warnings.warn(told_gone(self.id, output, gone), RowsGone, stacklevel=2)
        return columns

    async def labels(self, output: str) -> list[dict[str, Any]]:
        """What the labels of an output's rows stand for: name, direction_deg, speed_px_per_ms."""
        socket = await self._client.connect(f"/v1/streams/{self.id}/results?output={output}")
        try:
            async with asyncio.timeout(self._client.patience_s):
                hello = json.loads(await socket.recv())
        finally:
            await socket.close()
        return hello["outputs"][0]["labels"]

    async def stats(self) -> dict[str, Any]:
        """What went in, what came out, what was dropped."""
        return (await self._client.request("GET", f"/v1/streams/{self.id}/stats")).json()

    async def snapshot(self) -> bytes:
        """The stream's state; :meth:`AsyncClient.restore` goes on from it."""
        return (await self._client.request("GET", f"/v1/streams/{self.id}/snapshot")).content

    async def record(self, on: bool = True) -> None:
        """Record what is sent from now on, or stop that; waits until the service has what was sent before."""
        await self.flush()
        await self._client.request("PUT", f"/v1/streams/{self.id}/recording", json={"on": on})

    async def recording(self) -> bytes:
        """The frames that came while the stream was recorded: ``record=True``, or :meth:`record`."""
        return (await self._client.request("GET", f"/v1/streams/{self.id}/recording")).content

    async def admission(self) -> str:
        """What a realtime stream shed, as lines of JSON; `polychrony replay --admission` follows it."""
        return (await self._client.request("GET", f"/v1/streams/{self.id}/admission")).text

    async def delete(self) -> None:
        """Forget the stream."""
        await self.close()
        await self._client.request("DELETE", f"/v1/streams/{self.id}")

    async def close(self) -> None:
        """Let go of the connection; the stream stays and can be resumed until its time-out."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._socket is not None:
            await self.end()
        await self.close()

    async def _receive(self, socket: ClientConnection) -> str | bytes:
        async with asyncio.timeout(self._client.patience_s):
            return await socket.recv()

    async def _put(self, draft: Draft) -> None:
        await self._wait(lambda: self._out.has_room(draft), "send", self._client.patience_s)
        data = self._out.take(draft)
        try:
            await self._live().send(data)
        except ConnectionClosed as problem:
            await self._reconnect(problem)
        await self._pump(0)

    async def _wait(self, met: Callable[[], bool], call: str, timeout_s: float) -> None:
        deadline, seen = time.monotonic() + timeout_s, self._out.progress
        while not met():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimedOut(f"{call}: nothing went on for {timeout_s:g} s")
            await self._pump(left_s)
            if self._out.progress != seen:
                deadline, seen = time.monotonic() + timeout_s, self._out.progress

    async def _pump(self, wait_s: float) -> None:
        """Take in what the service says; waits for one message at most."""
        try:
            while True:
                async with asyncio.timeout(wait_s or 0.0001):
                    message = await self._live().recv()
                self._out.hear(json.loads(message))
                if self._out.final is not None:
                    return
                wait_s = 0
        except TimeoutError:
            return
        except ConnectionClosed as problem:
            await self._reconnect(problem)

    async def _reconnect(self, problem: ConnectionClosed) -> None:
        if self._out.final is not None:
            return
        fault = self._out.closed(problem.rcvd.code if problem.rcvd else 1006)
        if fault is not None:
            raise fault from problem
        deadline, pause = time.monotonic() + self._client.patience_s, 0.05
        while True:
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)
            try:
                await self.connect()
            except _BROKEN as reason:
                if is_lost(reason) or time.monotonic() > deadline:
                    raise Unreachable(f"the connection broke and could not be resumed: {reason}") from reason
            else:
                self.reconnects += 1
                return

    def _live(self) -> ClientConnection:
        if self._socket is None:
            raise ValueError("the stream is closed, or the service feeds it itself")
        return self._socket


class AsyncJob:
    """A job; made by :meth:`AsyncClient.submit`.

    Attributes:
        id: its name.
        description: what the service last said of it.
    """

    def __init__(self, client: AsyncClient, description: dict[str, Any]) -> None:
        self._client = client
        self.id: str = description["id"]
        self.description = description

    async def events(self, end_s: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """The job at every change, until it is over; see :meth:`polychrony_client.Job.events`."""
        try:
            async with self._client.http.stream(
                "GET", f"/v1/jobs/{self.id}/events", timeout=left(end_s)
            ) as response:
                if response.is_error:
                    raise Refused(response.status_code, response.reason_phrase)
                async for line in response.aiter_lines():
                    check_time(self.id, end_s)
                    if line.startswith("data: "):
                        self.description = json.loads(line[6:])
                        yield self.description
        except httpx.TransportError as problem:
            check_time(self.id, end_s)
            raise Unreachable(f"no answer from {self._client.url}: {problem}") from problem

    async def wait(
        self, progress: Callable[[dict[str, Any]], None] = silent, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Wait until the job is over, through restarts of the service; see :meth:`polychrony_client.Job.wait`."""
        deadline, end = time.monotonic() + self._client.patience_s, end_of(timeout_s)
        while self.description["state"] not in OVER:
            try:
                async for description in self.events(end):
                    deadline = time.monotonic() + self._client.patience_s
                    progress(description)
            except TimedOut:
                raise
            except (Refused, Unreachable) as problem:
                if is_lost(problem) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        return done_or_raise(self.id, self.description)

    async def summary(self) -> dict[str, Any]:
        """What summary.json says."""
        return (await self._client.request("GET", f"/v1/jobs/{self.id}/artifacts/summary.json")).json()

    async def download(self, folder: str | Path) -> list[Path]:
        """Write all artifacts into ``folder``, made where it is not."""
        target = Path(folder)
        await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
        written: list[Path] = []
        for artifact in self.description["artifacts"]:
            data = (await self._client.request("GET", artifact["url"])).content
            check_sum(artifact, hashlib.sha256(data).hexdigest())
            path = target / Path(artifact["name"]).name
            await asyncio.to_thread(path.write_bytes, data)
            written.append(path)
        return written

    async def retry(self) -> None:
        """Run a job that failed or was cancelled once more."""
        self.description = (await self._client.request("POST", f"/v1/jobs/{self.id}/retry")).json()

    async def cancel(self) -> None:
        """Cancel the job; forget it, where it is over."""
        await self._client.request("DELETE", f"/v1/jobs/{self.id}")


async def _iterate(
    client: AsyncClient, inbox: Inbox, timeout_s: float | None = None
) -> AsyncIterator[Result]:
    socket = await client.connect(inbox.path())
    try:
        while True:
            code = 1001
            try:
                async for message in _messages(socket, timeout_s):
                    if (result := inbox.take(message)) is not None:
                        yield result
                    if inbox.over:
                        return
            except ConnectionClosed as problem:
                code = problem.rcvd.code if problem.rcvd else 1006
            if (fault := inbox.closed(code)) is not None:
                raise fault
            await socket.close()
            socket = await _again(client, inbox)
    finally:
        await socket.close()


async def _messages(socket: ClientConnection, timeout_s: float | None) -> AsyncIterator[str | bytes]:
    """Messages until the connection is closed in order."""
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                message = await socket.recv()
        except ConnectionClosedOK:
            return
        except TimeoutError as problem:
            raise TimedOut(f"results: nothing came for {timeout_s:g} s") from problem
        yield message


async def _again(client: AsyncClient, inbox: Inbox) -> ClientConnection:
    deadline, pause = time.monotonic() + client.patience_s, 0.05
    while True:
        await asyncio.sleep(pause)
        pause = min(2.0, pause * 2)
        try:
            return await client.connect(inbox.path())
        except _BROKEN as reason:
            if is_lost(reason) or time.monotonic() > deadline:
                raise Unreachable(f"the connection broke and could not be resumed: {reason}") from reason
