"""Drawings of a model of any kind, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from pipeline.errors import UserError
from pipeline.models.delta import DeltaNetwork
from pipeline.models.flow_readout import FlowReadout
from pipeline.models.registry import Model
from pipeline.models.spiking import SpikingNetwork
from pipeline.sinks import kernels, networks, readouts
from pipeline.sinks.style import STYLE


def write_drawing(path: Path, model: Model, of: Literal["kernels", "curves"] = "kernels") -> None:
    """Draw a model into a file of the type that its suffix names: what it looks for, or what pruning it costs.

    Raises:
        UserError: the suffix names no type, or there are no curves of it.
    """
    with mpl.rc_context(STYLE):
        figure = draw(model) if of == "kernels" else _curves(model)
        try:
            figure.savefig(path, dpi=130)
        except ValueError as problem:
            raise UserError(f"{path.name}: allowed are .svg, .png and .pdf") from problem


def draw(model: Model) -> Figure:
    """What it looks for, and how good it is."""
    if isinstance(model, FlowReadout):
        return readouts.draw(model)
    return networks.draw(model) if isinstance(model, SpikingNetwork | DeltaNetwork) else kernels.draw(model)


def _curves(model: Model) -> Figure:
    """How good a bank is with less of its weights or delays."""
    drawn = None if isinstance(model, SpikingNetwork | DeltaNetwork | FlowReadout) else kernels.curves(model)
    if drawn is None:
        raise UserError(f"{model.card.name}: its card has no curves")
    return drawn
