"""The way to a service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polychrony_client.jobs import Job
from polychrony_client.results import Result
from polychrony_client.streams import Stream
from polychrony_client.subscribe import subscribe
from polychrony_client.transport import Transport


class Client(Transport):
    """A client of one service: jobs, streams, results.

    Args:
        url: of the service, such as ``http://127.0.0.1:8700``.
        token: where the service demands one.
        patience_s: how long to wait for an answer, or for a service that went away.
    """

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
        return Stream(self, self.request("POST", "/v1/streams", json=document).json())

    def results(
        self, stream_id: str, *outputs: str,
        start: bool = False, after: dict[str, int] | None = None, lossless: bool = False,
    ) -> Iterator[Result]:  # fmt: skip
        """Results of any stream, as they come to be; see :meth:`Stream.results`."""
        return subscribe(self, stream_id, outputs, start, after, lossless)
