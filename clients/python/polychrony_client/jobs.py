"""Offline analyses: upload, follow, download."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from polychrony_client.errors import PolychronyError
from polychrony_client.transport import Transport

_OVER = {"done", "failed", "cancelled"}


class Job:
    """A job; made by :meth:`Client.submit`.

    Attributes:
        id: its name.
        description: what the service last said of it.
    """

    def __init__(self, transport: Transport, description: dict[str, Any]) -> None:
        self._transport = transport
        self.id: str = description["id"]
        self.description = description

    def events(self) -> Iterator[dict[str, Any]]:
        """The job at every change, until it is over."""
        with self._transport.http.stream("GET", f"/v1/jobs/{self.id}/events", timeout=60) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.description = json.loads(line[6:])
                    yield self.description

    def wait(self, progress: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
        """Wait until the job is over.

        Args:
            progress: called with the job at every change.

        Raises:
            PolychronyError: it failed or was cancelled.
        """
        while self.description["state"] not in _OVER:
            for description in self.events():
                progress(description)
        if self.description["state"] != "done":
            raise PolychronyError(
                f"job {self.id} {self.description['state']}: {self.description['error'] or ''}".rstrip(": ")
            )
        return self.description

    def summary(self) -> dict[str, Any]:
        """What summary.json says."""
        return self._transport.request("GET", f"/v1/jobs/{self.id}/artifacts/summary.json").json()

    def download(self, folder: str | Path) -> list[Path]:
        """Write all artifacts into ``folder``, made where it is not."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        for artifact in self.description["artifacts"]:
            path = target / Path(artifact["name"]).name
            with self._transport.http.stream("GET", artifact["url"]) as response, path.open("wb") as file:
                response.raise_for_status()
                for chunk in response.iter_bytes(1 << 20):
                    file.write(chunk)
            written.append(path)
        return written

    def cancel(self) -> None:
        """Cancel the job; forget it, where it is over."""
        self._transport.request("DELETE", f"/v1/jobs/{self.id}")
