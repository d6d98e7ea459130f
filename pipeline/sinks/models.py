"""Drawings of a model of any kind, into a file."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pipeline.errors import UserError
from pipeline.models.delta import DeltaNetwork
from pipeline.models.registry import Model
from pipeline.models.spiking import SpikingNetwork
from pipeline.sinks import kernels, networks
from pipeline.sinks.style import STYLE


def write_drawing(path: Path, model: Model) -> None:
    """Draw a model into a file of the type that its suffix names.

    Raises:
        UserError: the suffix names no type.
    """
    with mpl.rc_context(STYLE):
        try:
            draw(model).savefig(path, dpi=130)
        except ValueError as problem:
            raise UserError(f"{path.name}: allowed are .svg, .png and .pdf") from problem


def draw(model: Model) -> Figure:
    """What it looks for, and how good it is."""
    return networks.draw(model) if isinstance(model, SpikingNetwork | DeltaNetwork) else kernels.draw(model)
