"""``polychrony train``: models from generated motion, or from the user's recordings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from pydantic import BaseModel, ValidationError

from pipeline.errors import in_words
from pipeline.models import describe, registry
from pipeline.models.bundle import Card
from pipeline.training import labelled
from pipeline.training.classifiers import trainer as classifier_training
from pipeline.training.classifiers.trainer import ClassifierTraining
from pipeline.training.field import trainer as field_training
from pipeline.training.field.trainer import FieldTraining
from pipeline.training.motifs import addresses as address_training
from pipeline.training.motifs import trainer as motif_training
from pipeline.training.motifs.addresses import AddressTraining
from pipeline.training.motifs.config import PRESETS, MotifTraining, MotionKind
from pipeline.training.rendering import microsaccades as eye_training
from pipeline.training.rendering.microsaccades import EyePlan
from service.cli.console import out, progress, tell
from service.cli.options import AsJson

_Config = TypeVar("_Config", bound=BaseModel)

app = typer.Typer(help="Train models.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _train() -> None:
    """Train models."""


@app.command()
def motif(
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the bundle; an interrupted run there goes on.")
    ],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "motif8",
    name: Annotated[str | None, typer.Option(help="Name of the bank, instead of the preset's.")] = None,
    motion: Annotated[
        str | None, typer.Option(help=f"What it learns from: {', '.join(get_args(MotionKind))}.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images, instead of the bundled ones.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of recordings, a folder a label; implies that motion.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the kernel, pixels, odd.")] = None,
    delays: Annotated[int | None, typer.Option(help="Delays, bins.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps, instead of the preset's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed, instead of the preset's.")] = None,
    test_movies: Annotated[
        int | None, typer.Option(help="Movies that it is tested on, instead of the preset's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Movies made at a time; default: one a core.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a motif bank: softmax regression over pixels and delays, by Adam."""
    changes = {
        "name": name, "motion": "recordings" if recordings else motion, "size": size, "delays": delays,
        "images": None if images is None else str(images), "steps": steps, "seed": seed,
        "recordings": None if recordings is None else str(recordings), "test_movies": test_movies,
    }  # fmt: skip
    config = _configured(preset, {key: value for key, value in changes.items() if value is not None})
    with progress(f"training {config.name}", quiet=as_json) as advance:

        def told(so_far: motif_training.Told) -> None:
            seen = f", validation {so_far.validation[0]:.3f}" if so_far.validation else ""
            advance(
                so_far.step / so_far.steps,
                f"loss {so_far.loss:.3f}{seen}, voxels right {so_far.accuracy:.1%}",
            )

        card = motif_training.train(config, out_dir, told, threads)
    _show_accuracy(out_dir, card, as_json)


@app.command()
def field(
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")],
    bank: Annotated[str, typer.Option(help="Motif bank whose evidence it reads.")] = "motif36",
    name: Annotated[str, typer.Option(help="Name of the readout.")] = "flow36",
    movies: Annotated[int, typer.Option(min=8, help="Scenes that it learns from.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 1,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Learn nothing: measure the readout NAME anew, its confidence too."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Scenes made at a time; default: one a core.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the readout of `optical_flow`: softmax regression on rendered scenes of known motion."""
    config = FieldTraining(name=name, bank=bank, movies=movies, seed=seed)
    with progress(f"{'measuring' if measure else 'training'} {name}", quiet=as_json) as advance:
        if measure:
            card = field_training.measure(name, seed, out_dir, advance, threads)
        else:
            card = field_training.train(config, out_dir, advance, threads)
    _show_accuracy(out_dir, card, as_json)


@app.command()
def classifier(
    recordings: Annotated[
        Path,
        typer.Argument(
            help="Folder of recordings, a folder a label; or an .npz of many.", show_default=False
        ),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the bundle; an interrupted run there goes on.")
    ],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(classifier_training.PRESETS)}.")] = "plain",
    name: Annotated[str | None, typer.Option(help="Name of the model, instead of the preset's.")] = None,
    method: Annotated[str | None, typer.Option(help="How it learns: sltt, tess, reservoir or stdp.")] = None,
    step_us: Annotated[int | None, typer.Option(help="A step of the network is so many us.")] = None,
    step_events: Annotated[int | None, typer.Option(help="Or so many events.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a recording that are looked at.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How often it sees all recordings.")] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate, then learn from all; 0: hold out a fifth.")
    ] = None,
    backward_steps: Annotated[
        int | None, typer.Option(help="Only so many steps of each recording carry the gradient (SLTT-K).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Default: one a core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a spiking classifier on labelled recordings: SLTT, without torch."""
    if preset not in classifier_training.PRESETS:
        raise typer.BadParameter(
            f"allowed are {', '.join(classifier_training.PRESETS)}", param_hint="--preset"
        )
    changes = {
        "name": name, "method": method, "step_us": step_us, "step_events": step_events, "steps": steps,
        "epochs": epochs, "folds": folds, "backward_steps": backward_steps, "seed": seed,
    }  # fmt: skip
    if step_events is not None and step_us is None:
        changes["step_us"] = None
    stated = {
        key: value
        for key, value in changes.items()
        if value is not None or (key == "step_us" and step_events)
    }
    start = classifier_training.PRESETS[preset]
    config = _validated(ClassifierTraining, {**start, "recordings": str(recordings), **stated})
    with progress(f"training {config.name}", quiet=as_json) as advance:
        card = classifier_training.train(config, out_dir, advance, threads)
    if as_json:
        out.print(json.dumps(card.model_dump(mode="json", exclude={"layers", "labels"})), markup=False)
    else:
        tell(f"{out_dir}:")
        out.print(describe.text(registry.read(out_dir)), markup=False)


@app.command(name="eyes")
def eyes_(
    target: Annotated[Path, typer.Argument(help="The .npz to write.", show_default=False)],
    eyes: Annotated[int, typer.Option(min=1, help="Eyes, each drawn anew.")] = 160,
    per_class: Annotated[int, typer.Option(min=1, help="Recordings of each amplitude and eye.")] = 4,
    preset: Annotated[str, typer.Option(help="Of the DVS pixel: ideal, clean, noisy or v2e.")] = "noisy",
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, max=256, help="Default: one a core.")] = None,
) -> None:
    """Render microsaccades of seven amplitudes, as labelled recordings to train a classifier on."""
    plan = _validated(EyePlan, {"preset": preset})
    with progress("rendering eyes") as advance:
        made, labels = eye_training.recordings(
            eyes, per_class, plan, seed, threads or os.cpu_count() or 1, advance
        )
    labelled.write(target, made, labels)
    tell(f"{target}: {len(made)} recordings of {eyes} eyes")


@app.command()
def addresses(
    recordings: Annotated[Path, typer.Option(help="Folder of recordings, a folder a label.")],
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")],
    name: Annotated[str, typer.Option(help="Name of the bank.")] = "addresses",
    address: Annotated[str, typer.Option(help="x, y, pixel or pixel_polarity.")] = "pixel_polarity",
    method: Annotated[
        str, typer.Option(help="delays: one delay a synapse, learned; taps: a weight for every delay.")
    ] = "delays",
    competition: Annotated[str, typer.Option(help="softmax, or sigmoid: each class by itself.")] = "softmax",
    delays: Annotated[int, typer.Option(help="Delays, bins.")] = 31,
    bin_us: Annotated[int, typer.Option(help="Width of a bin, us.")] = 1000,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a motif bank on addresses from labelled recordings: no neighbourhood, any delays."""
    config = _validated(
        AddressTraining,
        {
            "name": name, "recordings": str(recordings), "address": address, "method": method, "delays": delays,
            "competition": competition, "bin_us": bin_us, "steps": steps, "seed": seed,
        },
    )  # fmt: skip
    with progress(f"training {config.name}", quiet=as_json) as advance:
        card = address_training.train(
            config, out_dir,
            lambda step, steps, loss, right: advance(step / steps, f"loss {loss:.3f}, bins right {right:.1%}"),
        )  # fmt: skip
    _show_accuracy(out_dir, card, as_json)


def _show_accuracy(out_dir: Path, card: Card, as_json: bool) -> None:
    if as_json:
        out.print(json.dumps(card.accuracy), markup=False)
    else:
        tell(f"{out_dir}: {json.dumps(card.accuracy, indent=2)}")


def _configured(preset: str, changes: dict[str, Any]) -> MotifTraining:
    if preset not in PRESETS:
        raise typer.BadParameter(f"allowed are {', '.join(PRESETS)}", param_hint="--preset")
    return _validated(MotifTraining, {**PRESETS[preset].model_dump(), **changes})


def _validated(kind: type[_Config], values: dict[str, Any]) -> _Config:
    try:
        return kind.model_validate(values)
    except ValidationError as problems:
        first = problems.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else ""
        raise typer.BadParameter(in_words(first), param_hint=option or None) from problems
