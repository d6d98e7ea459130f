"""``polychrony replay``: a recorded stream once more, with what it shed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.replay import Admission, read_admission
from pipeline.replay import replay as run
from pipeline.spec import load
from service.cli.console import out, print_json
from service.cli.options import AsJson


def replay(
    recording: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Of a stream with `record` (.pchy).")
    ],
    admission: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="What a realtime stream decided: its admission log (.jsonl)."
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="A preset or a YAML file; default: the stream's own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a recorded stream once more and print its digests.

    They equal the stream's, unless -p names another pipeline; of a realtime stream with its admission log.
    """
    intake = run(
        recording,
        read_admission(admission) if admission else Admission(),
        load(pipeline) if pipeline else None,
    )
    engine = intake.engine
    found = {
        "events": engine.events, "frames": intake.frames, "rows": dict(engine.rows), "digests": engine.digests(),
        "dropped": intake.dropped,
    }  # fmt: skip
    if as_json:
        print_json(found)
        return
    for name, value in engine.digests().items():
        out.print(f"{value}  {name}")
