"""``polychrony models``: which models there are, and what they are like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import video_inference
from pipeline.models import registry
from pipeline.models.describe import describe, text
from pipeline.models.import_options import ImportOptions
from pipeline.training.classifiers import quantisation as calibration
from service.cli.console import note, out, print_json, progress, table, tell, warn
from service.cli.options import AsJson, takes

app = typer.Typer(help="List, show, import and export models.", no_args_is_help=True, rich_markup_mode=None)

ModelName = Annotated[str, typer.Argument(help="Name of a model.", show_default=False)]


@app.callback()
def _models() -> None:
    """List, show, import and export models."""


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Name all models: those that come with Polychrony, and your own."""
    models = [registry.load(name) for name in registry.names()]
    if as_json:
        print_json({"models": [describe(model) for model in models], "folder": str(registry.own())})
        return
    shown = table("model", "kind", "classes", "parameters", "class accuracy")
    for model in models:
        seen = describe(model)
        accuracy = seen["accuracy"].get("class")
        parameters = seen["costs"]["parameters"] if "costs" in seen else seen["weights"]
        shown.add_row(
            seen["name"], seen["kind"], str(len(model.card.labels)), f"{parameters:,}",
            "" if accuracy is None else f"{accuracy:.1%}",
        )  # fmt: skip
    out.print(shown)
    note(f"your own go into {registry.own()}: polychrony models import FOLDER")


@app.command()
def show(
    name: ModelName,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this file, .svg, .png or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's card and what it costs, and draw it."""
    model = registry.load(name)
    if plot is not None:
        from pipeline.sinks.models import write_drawing  # noqa: PLC0415 - matplotlib, which most never need

        write_drawing(plot, model)
    if as_json:
        print_json(describe(model))
        return
    out.print(text(model), markup=False)
    if plot is not None:
        note(f"drawn into {plot}")


@app.command(name="import")
@takes(ImportOptions, "options")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A bundle, a folder or a .zip; or a .nir or .onnx file.", show_default=False
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the model; default: the file's.")] = None,
    as_json: AsJson = False,
    *,
    options: ImportOptions,
) -> None:
    """Put a bundle, or a network of another framework, among your models."""
    model = registry.install(file, name, options.reading, options.encoding)
    described = describe(model)
    warn(file.name, described["provenance"].get("warnings", []))
    if as_json:
        print_json(described)
    else:
        note(f"{model.card.name}: in {registry.own()}")


@app.command()
def run(
    name: ModelName,
    video: Annotated[Path, typer.Argument(help="A video.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Run a Delta network straight on a video's frames."""
    said, spent = video_inference.answers(video, registry.load_delta(name))
    if as_json:
        print_json({"frames": said, "costs": spent})
        return
    for row in said:
        out.print(
            f"{row['frame']:6d}  {row.get('label', row['answers'][:4])}  {row.get('confidence', '')}",
            markup=False,
        )
    tell(
        f"{spent['operation_sparsity']:.1%} of the operations and {spent['activation_sparsity']:.1%} of the "
        "activations were skipped"
    )


@app.command()
def calibrate(
    name: ModelName,
    source: Annotated[
        Path,
        typer.Argument(help="A recording, or, of a network that reads frames, a video.", show_default=False),
    ],
    loss: Annotated[float, typer.Option(min=0, max=1, help="Share of the answers that may change.")] = 0.01,
    most: Annotated[int, typer.Option(min=2, help="Steps or frames that are looked at.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Choose the steps of one of your Delta networks on real input: as coarse as answers allow."""
    network = registry.load_delta(name)
    given = calibration.inputs(source, network.card, most)
    with progress(f"calibrating {name}", quiet=as_json) as advance:
        card = calibration.calibrate(network.card, network.tensors, given, loss, advance)
    registry.replace(name, card, network.tensors)
    if as_json:
        print_json(describe(registry.load(name)))
    else:
        out.print(text(registry.load(name)), markup=False)


@app.command()
def export(
    name: ModelName,
    target: Annotated[
        Path,
        typer.Argument(help="The file to write: .zip, or .nir of a spiking network.", show_default=False),
    ],
) -> None:
    """Write a model as a bundle, or as a NIR graph."""
    registry.export(name, target)
    note(f"{target}: {name}")
