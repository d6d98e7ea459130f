"""``polychrony presets``: the pipelines there are, and what is in them."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline import library
from pipeline.spec import preset
from service.cli.console import note, out, print_json, table
from service.cli.options import AsJson

app = typer.Typer(help="List and show pipelines.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _presets() -> None:
    """List and show pipelines: the presets, and those that a service keeps."""


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Name all pipelines: those that come with Polychrony, and your own."""
    known = [{"name": name, "preset": True, "about": _about(name)} for name in library.presets()]
    known += [{"name": name, "preset": False, "about": ""} for name in library.names()]
    if as_json:
        print_json({"pipelines": known})
        return
    shown = table("pipeline", "what it is for")
    shown.columns[1].justify = "left"
    for one in known:
        shown.add_row(str(one["name"]), str(one["about"]) or "your own")
    out.print(shown)
    note("use one with -p NAME; see one, to begin a file of your own, with: polychrony presets show NAME")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a pipeline.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Print a pipeline, as YAML that -p takes."""
    if as_json:
        print_json(preset(name).model_dump(mode="json"))
    else:
        out.print(library.text(name), markup=False, end="")


def _about(name: str) -> str:
    """The comment that a preset begins with."""
    return library.text(name).split("\n", 1)[0].removeprefix("#").strip()
