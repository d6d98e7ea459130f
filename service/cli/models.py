"""``polychrony models``: which models there are, and what they are like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pipeline.models import registry
from pipeline.models.registry import Bank
from pipeline.sinks.kernels import write_kernels
from service.cli.console import note, out, print_json, table
from service.cli.options import AsJson

app = typer.Typer(help="List, show, import and export models.", no_args_is_help=True, rich_markup_mode=None)

ModelName = Annotated[str, typer.Argument(help="Name of a model.", show_default=False)]


@app.callback()
def _models() -> None:
    """List, show, import and export models."""


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Name all models: those that come with Polychrony, and your own."""
    banks = [registry.load(name) for name in registry.names()]
    if as_json:
        print_json({"models": [_described(bank) for bank in banks], "folder": str(registry.own())})
        return
    shown = table("model", "kind", "classes", "weights", "delays", "class accuracy")
    for bank in banks:
        seen = _described(bank)
        accuracy = seen["accuracy"].get("class")
        shown.add_row(
            seen["name"], seen["kind"], str(len(bank.card.labels)), f"{bank.weight.size:,}",
            str(bank.weight.shape[2]), "" if accuracy is None else f"{accuracy:.1%}",
        )  # fmt: skip
    out.print(shown)
    note(f"your own go into {registry.own()}: polychrony models import FOLDER")


@app.command()
def show(
    name: ModelName,
    plot: Annotated[
        Path | None, typer.Option(help="Draw its kernels and curves into this file, .svg, .png or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's card, and draw its kernels."""
    bank = registry.load(name)
    if plot is not None:
        write_kernels(plot, bank)
    if as_json:
        print_json(_described(bank))
        return
    out.print(_text(bank), markup=False)
    if plot is not None:
        note(f"kernels drawn into {plot}")


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder or a .zip of a bundle.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Put a bundle among your models."""
    bank = registry.install(source)
    if as_json:
        print_json(_described(bank))
    else:
        note(f"{bank.card.name}: in {registry.own()}")


@app.command()
def export(
    name: ModelName,
    target: Annotated[Path, typer.Argument(help="The .zip to write.", show_default=False)],
) -> None:
    """Write a model as a .zip."""
    registry.export(name, target)
    note(f"{target}: {name}")


def _described(bank: Bank) -> dict[str, Any]:
    return {
        **bank.card.model_dump(mode="json"), "digest": bank.digest, "shape": list(bank.weight.shape),
        "weights": int(bank.weight.size), "weights_not_zero": int(np.count_nonzero(bank.weight)),
        "largest_weight": int(np.abs(bank.weight).max(initial=0)), "bytes": int(bank.weight.size * 2),
    }  # fmt: skip


def _text(bank: Bank) -> str:
    seen = _described(bank)
    lines = [
        f"{seen['name']} {seen['version']}: {seen['kind']} of {len(bank.card.labels)} classes",
        f"weights      {seen['weights']:,} ({seen['weights_not_zero']:,} not zero), {seen['bytes']:,} bytes",
        f"shape        {' x '.join(map(str, seen['shape']))}, bins of {bank.card.bin_us} us",
        f"classes      {', '.join(label.name for label in bank.card.labels)}",
        f"competition  {bank.card.competition}",
        *(f"{key:12} {_short(value)}" for key, value in bank.card.accuracy.items()),
        f"made by      {bank.card.provenance.get('command', 'unknown')}",
        f"licence      {bank.card.licence or 'unknown'}",
        f"digest       {bank.digest}",
    ]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {one}" for key, one in value.items())
    return str(value)
