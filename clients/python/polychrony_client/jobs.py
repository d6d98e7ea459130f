"""Offline analyses: upload, follow, download."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from polychrony_client.errors import PolychronyError, Refused, TimedOut, Unreachable
from polychrony_client.transport import Transport, is_lost

OVER = frozenset({"done", "failed", "cancelled"})


def silent(_description: dict[str, Any]) -> None:
    """No progress is reported."""


class Job:
    """A job; made by :meth:`Client.submit`.

    Attributes:
        id: its name.
        description: what the service last said of it: state, done, eta_s, events, rows, error, artifacts ...
    """

    def __init__(self, transport: Transport, description: dict[str, Any]) -> None:
        self._transport = transport
        self.id: str = description["id"]
        self.description = description

    def events(self, end_s: float | None = None) -> Iterator[dict[str, Any]]:
        """The job at every change, until it is over or the connection ends; a heartbeat comes every 15 s.

        Args:
            end_s: raise :class:`TimedOut` when the monotonic clock is there.
        """
        try:
            with self._transport.http.stream(
                "GET", f"/v1/jobs/{self.id}/events", timeout=left(end_s)
            ) as response:
                if response.is_error:
                    response.read()
                    raise Refused(response.status_code, response.reason_phrase)
                for line in response.iter_lines():
                    check_time(self.id, end_s)
                    if line.startswith("data: "):
                        self.description = json.loads(line[6:])
                        yield self.description
        except httpx.TransportError as problem:
            check_time(self.id, end_s)
            raise Unreachable(f"no answer from {self._transport.url}: {problem}") from problem

    def wait(
        self, progress: Callable[[dict[str, Any]], None] = silent, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Wait until the job is over, through restarts of the service.

        Args:
            progress: called with the job at every change.
            timeout_s: how long at most; by default as long as the service answers.

        Raises:
            PolychronyError: it failed or was cancelled.
            TimedOut: it is not over by then.
            Unreachable: the service went away and did not come back.
        """
        deadline, end = time.monotonic() + self._transport.patience_s, end_of(timeout_s)
        while self.description["state"] not in OVER:
            try:
                for description in self.events(end):
                    deadline = time.monotonic() + self._transport.patience_s
                    progress(description)
            except TimedOut:
                raise
            except (Refused, Unreachable) as problem:
                if is_lost(problem) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        return done_or_raise(self.id, self.description)

    def summary(self) -> dict[str, Any]:
        """What summary.json says."""
        return self._transport.request("GET", f"/v1/jobs/{self.id}/artifacts/summary.json").json()

    def download(self, folder: str | Path) -> list[Path]:
        """Write all artifacts into ``folder``, made where it is not.

        Raises:
            PolychronyError: one did not come through whole.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        for artifact in self.description["artifacts"]:
            path, sum_ = target / Path(artifact["name"]).name, hashlib.sha256()
            with self._transport.http.stream("GET", artifact["url"]) as response, path.open("wb") as file:
                response.raise_for_status()
                for chunk in response.iter_bytes(1 << 20):
                    sum_.update(chunk)
                    file.write(chunk)
            check_sum(artifact, sum_.hexdigest())
            written.append(path)
        return written

    def retry(self) -> None:
        """Run a job that failed or was cancelled once more."""
        self.description = self._transport.request("POST", f"/v1/jobs/{self.id}/retry").json()

    def cancel(self) -> None:
        """Cancel the job; forget it, where it is over."""
        self._transport.request("DELETE", f"/v1/jobs/{self.id}")


def end_of(timeout_s: float | None) -> float | None:
    """When a time-out is over, on the monotonic clock."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def left(end_s: float | None) -> float:
    """Seconds that one read may take; the service sends something every 15."""
    return 60.0 if end_s is None else min(60.0, max(0.05, end_s - time.monotonic()))


def check_time(id_: str, end_s: float | None) -> None:
    """Whether there is time left.

    Raises:
        TimedOut: there is none.
    """
    if end_s is not None and time.monotonic() > end_s:
        raise TimedOut(f"job {id_} is not over within the time that was given")


def done_or_raise(id_: str, description: dict[str, Any]) -> dict[str, Any]:
    """The description of a job that is done; an error for any other that is over."""
    if description["state"] != "done":
        raise PolychronyError(f"job {id_} {description['state']}: {description['error'] or ''}".rstrip(": "))
    return description


def check_sum(artifact: dict[str, Any], found: str) -> None:
    """Whether an artifact came through whole."""
    if artifact.get("sha256") not in {None, found}:
        raise PolychronyError(f"{artifact['name']}: checksum mismatch: download it again")
