"""What a job's folder tells of it, should the database be lost."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.reading import read_file
from pipeline.writing import replace_file, sync_folder
from service.jobs.work import REQUEST
from service.storage.records import CANCELLED, DONE, FAILED, QUEUED, Job

OVER = "over.json"


def mark_over(folder: Path, state: str, error: str | None) -> None:
    """Write down in its folder that a job will not be gone on with; the database is what counts."""
    # A hint for the day when the database is lost: a job that ended must not be held up by a full disk.
    with suppress(OSError):
        replace_file(folder / OVER, json.dumps({"state": state, "error": error}).encode())


def job_of(folder: Path) -> Job | None:
    """The job whose folder this is; None where its body never came whole.

    One that was not over waits again; one that made answers is done.
    """
    upload = next(folder.glob("upload*"), None)
    try:
        asked = json.loads(read_file(folder / REQUEST))
        name, options, created_s = str(asked["name"]), dict(asked["options"]), upload.stat().st_mtime  # pyright: ignore[reportOptionalMemberAccess]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    key, sum_ = asked.get("idempotency_key"), asked.get("asked")
    job = Job(folder.name, name, options, key if isinstance(key, str) else None, created_s=created_s)
    job.asked = sum_ if isinstance(sum_, str) else None
    answers = folder / "answers"
    if answers.is_dir():
        job.state, job.artifacts, job.finished_s = DONE, artifacts(answers), answers.stat().st_mtime
    elif (state := _over(folder)) is not None:
        job.state, job.error = state
        job.finished_s = (folder / OVER).stat().st_mtime
    else:
        job.state = QUEUED
    job.bytes = sum(path.stat().st_size for path in (*folder.glob("upload*"), *answers.glob("*")))
    return job


def _over(folder: Path) -> tuple[str, str | None] | None:
    try:
        said = json.loads(read_file(folder / OVER))
        return (said["state"], said["error"]) if said["state"] in {FAILED, CANCELLED} else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def counts(folder: Path) -> tuple[int | None, dict[str, int] | None]:
    """(events, rows of each output) that a job's summary states; None where it cannot be read."""
    try:
        summary = json.loads(read_file(folder / "summary.json"))
        return int(summary["events"]), {str(name): int(n) for name, n in summary["rows"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None, None


def artifacts(folder: Path, fsync: bool = False) -> list[dict[str, Any]]:
    """What a job made, with sums by which one can tell that it came through whole; with ``fsync``, on the disk."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_file():
            continue
        with path.open("rb") as file:
            sum_ = hashlib.file_digest(file, "sha256").hexdigest()
            if fsync:
                os.fsync(file.fileno())
        found.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sum_})
    if fsync and folder.is_dir():
        sync_folder(folder)
        sync_folder(folder.parent)
    return found
