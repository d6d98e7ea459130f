"""A job's work, in its child process: one analysis as the request in its folder says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pipeline.analysis import analyze
from pipeline.sources import open_source
from pipeline.spec import validate
from pipeline.writing import replace_file, sync_file, sync_folder
from service.host.child_output import output
from service.jobs.request import JobOptions

REQUEST = "request.json"
_TOLD_S = 0.1


def write_request(
    folder: Path, upload: Path, name: str, answers: Path, options: dict[str, Any], key: str | None = None,
    asked: str | None = None, fsync: bool = False,
) -> Path:  # fmt: skip
    """Write down what a child shall do, and what brings the job back should the database be lost; its path.

    Args:
        folder: of the job.
        upload: the input.
        name: what the user calls it.
        answers: the folder that appears.
        options: of :class:`JobOptions`, with the pipeline as a document.
        key: the job's idempotency key.
        asked: SHA-256 of what was asked for with it.
        fsync: whether to wait for the disk, which then has the upload, too, and the name of the folder.
    """
    path = folder / REQUEST
    document = {
        "upload": str(upload),
        "name": name,
        "answers": str(answers),
        "options": options,
        "idempotency_key": key,
        "asked": asked,
    }
    if fsync:
        sync_file(upload)
    # Each attempt writes it once more, and a kill may come at any time: without it the job could not come back.
    replace_file(path, json.dumps(document).encode(), fsync, shared=True)
    if fsync:
        sync_folder(folder.parent)
    return path


def run(request: str) -> None:
    """Do it; progress comes as lines of JSON on stdout."""
    asked = json.loads(Path(request).read_text())
    options = JobOptions.model_validate(asked["options"])
    last_s = 0.0

    def told(fraction: float, events: int, rows: dict[str, int]) -> None:
        nonlocal last_s
        now = time.monotonic()
        if now - last_s >= _TOLD_S or fraction >= 1:
            last_s = now
            output().write(json.dumps({"done": fraction, "events": events, "rows": rows}).encode() + b"\n")
            output().flush()

    source = open_source(Path(asked["upload"]), options)
    analyze(
        source, validate(asked["options"]["pipeline"]), Path(asked["answers"]), asked["name"],
        options.selection, told, options.video,
    )  # fmt: skip
