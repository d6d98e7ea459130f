"""``polychrony doctor``: what is wrong with this box."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.configuration import read_settings
from service.cli.console import note, out, print_json
from service.cli.options import AsJson
from service.health.doctor import Finding, examine

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "wrong": "WRONG  "}


def doctor(
    data_dir: Annotated[
        Path | None, typer.Option("--data", help="The service's data folder; default .polychrony.")
    ] = None,
    kernels: Annotated[
        bool, typer.Option(help="Load every kernel; those that are not cached are compiled.")
    ] = True,
    as_json: AsJson = False,
) -> int:
    """Check this machine: processor, kernels, memory, clock, disk, data, port, cameras, sources, receivers.

    The exit code is 1 where a check fails.
    """
    settings = read_settings(**({"data_dir": data_dir} if data_dir else {}))
    if kernels and not as_json:
        note("loading kernels ...")
    found: list[Finding] = []
    for one in examine(settings, kernels):
        found.append(one)
        if not as_json:
            mend = f" ({one.mend})" if one.mend else ""
            out.print(f"{_MARKS[one.level]}  {one.part:<10} {one.said}{mend}", markup=False)
    if as_json:
        print_json([vars(one) for one in found])
    return int(any(one.level == "wrong" for one in found))
