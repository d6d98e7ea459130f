"""``polychrony digest``: what makes two results equal."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.offline import engine_for, steps
from pipeline.sinks.tables import is_results, read_digest
from pipeline.sources import InputOptions, open_source
from pipeline.spec import load
from service.cli.console import out, print_json, warn
from service.cli.options import AsJson, InputFile, takes_part
from service.cli.standard_input import standard_input


@takes_part
def digest(
    path: InputFile,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="A preset or a YAML file; default: motion.")
    ] = None,
    as_json: AsJson = False,
    *,
    inputs: InputOptions,
) -> None:
    """Print the SHA-256 over the rows of each output, in canonical order.

    Of a table that `analyze` wrote, the digest of its rows, unless a pipeline is named; of any other input,
    those of what the pipeline answers.
    """
    if pipeline is None and str(path) != "-" and is_results(path):
        found = {path.stem: read_digest(path)}
    else:
        with standard_input([path]) as (file,):
            source = open_source(file, inputs)
            engine = engine_for(source, load(pipeline or "motion"))
            for _ in steps(engine, source, inputs.selection):
                pass
        warn(path.name, source.info.warnings)
        found = engine.digests()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        out.print(f"{value}  {name}")
