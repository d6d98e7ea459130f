"""``polychrony digest``: what makes two results equal."""

from __future__ import annotations

from pipeline.offline import engine_for, steps
from pipeline.sinks.tables import read_digest
from pipeline.spec import load
from service.cli.console import out, print_json
from service.cli.options import AsJson, InputFile, Inputs, PipelineName, takes_input

_PARQUET = b"PAR1"


@takes_input
def digest(
    path: InputFile,
    pipeline: PipelineName = "motion",
    as_json: AsJson = False,
    *,
    inputs: Inputs,
) -> None:
    """Print the SHA-256 over the rows of each output, in canonical order.

    Of a table of results that `analyze` wrote, the digest of its rows; of a video or recording, those of
    what the pipeline answers.
    """
    if path.is_file() and path.open("rb").read(4) == _PARQUET:
        found = {path.stem: read_digest(path)}
    else:
        source = inputs.open(path)
        engine = engine_for(source, load(pipeline))
        for _ in steps(engine, source):
            pass
        found = engine.digests()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        out.print(f"{value}  {name}")
