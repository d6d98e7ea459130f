"""The way to a service."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polychrony_client.jobs import Job
from polychrony_client.results import Result
from polychrony_client.streams import Stream
from polychrony_client.subscribe import subscribe
from polychrony_client.transport import Transport
from polychrony_client.uploads import Progress, job_document, nobody, send_bytes, send_file


class Client(Transport):
    """A client of one service: jobs, streams, results.

    Args:
        url: of the service, such as ``http://127.0.0.1:8700``.
        token: where the service demands one.
        patience_s: how long to wait for an answer, or for a service that went away.
    """

    def submit(
        self, path: str | Path, pipeline: str | dict[str, Any] = "motion", *,
        key: str | None = None, progress: Progress = nobody, **options: Any,
    ) -> Job:  # fmt: skip
        """Upload a video or a recording to be analyzed; an upload that breaks off goes on.

        Args:
            path: the file.
            pipeline: name of a preset, or a pipeline.
            key: the same key gives the same job, however often it is sent; made up where None.
            progress: called with (bytes that came, all bytes).
            options: such as ``frame_rate``, ``sensor="640x480"``, ``from_s``, ``to_s``, ``roi``, ``priority``.

        Raises:
            Refused: the service does not take it.
        """
        key = key or secrets.token_hex(16)
        upload = self.upload(path, progress, options.get("format"))
        document = job_document(upload, pipeline, options)
        return Job(
            self, self.request("POST", "/v1/jobs", json=document, headers={"Idempotency-Key": key}).json()
        )

    def upload(self, path: str | Path, progress: Progress = nobody, format_: str | None = None) -> str:
        """Bring a file to the service, in parts; a connection that breaks is made anew. The upload's id.

        Args:
            path: the file.
            progress: called with (bytes that came, all bytes).
            format_: its format, where the content does not show it.

        Raises:
            Refused: the service does not take it, or cannot read such a file.
            Unreachable: it went away and did not come back.
        """
        return send_file(self, Path(path), progress, format_)

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
        return Stream(self, self.request("POST", "/v1/streams", json=document).json())

    def upload_bytes(self, data: bytes, name: str = "upload") -> str:
        """Bring bytes to the service; the upload's id."""
        return send_bytes(self, data, name)

    def attach(self, id_: str) -> Stream:
        """Go on feeding a stream that exists: behind the last frame that the service has of it."""
        return Stream(self, self.request("GET", f"/v1/streams/{id_}").json())

    def restore(self, snapshot: bytes) -> Stream:
        """A stream that goes on from a snapshot of another; send what comes behind it.

        Raises:
            Refused: it is no snapshot of this service, or its models have changed.
        """
        id_ = self.upload_bytes(snapshot, "snapshot.zip")
        return Stream(self, self.request("POST", "/v1/streams", json={"snapshot": id_}).json())

    def results(
        self, stream_id: str, *outputs: str,
        start: bool = False, after: dict[str, int] | None = None, lossless: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[Result]:  # fmt: skip
        """Results of any stream, as they come to be; see :meth:`Stream.results`."""
        return subscribe(self, stream_id, outputs, start, after, lossless, timeout_s)
