"""``polychrony train``: models from generated motion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.training import motif as motif_training
from service.cli.console import note, out, progress
from service.cli.options import AsJson

app = typer.Typer(help="Train models.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _train() -> None:
    """Train models."""


@app.command()
def motif(
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(motif_training.PRESETS)}.")] = "motif8",
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, instead of the preset's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the preset's.")] = None,
    test_movies: Annotated[
        int | None, typer.Option(min=1, help="Movies that it is tested on, instead of the preset's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a motif bank on natural images that slide under the DVS pixel model."""
    if preset not in motif_training.PRESETS:
        raise typer.BadParameter(f"allowed are {', '.join(motif_training.PRESETS)}", param_hint="--preset")
    changes = {"steps": steps, "seed": seed, "test_movies": test_movies}
    config = motif_training.PRESETS[preset].model_copy(
        update={key: value for key, value in changes.items() if value is not None}
    )
    with progress(f"training {config.name}", quiet=as_json) as advance:

        def told(step: int, steps: int, loss: float, accuracy: float) -> None:
            advance(step / steps, f"loss {loss:.3f}, voxels right {accuracy:.1%}")

        card = motif_training.train(config, out_dir, told)
    if as_json:
        out.print(json.dumps(card.accuracy), markup=False)
    else:
        note(f"{out_dir}: {json.dumps(card.accuracy, indent=2)}")
