"""A drawing of a readout of motion: what its confidence is worth."""

from __future__ import annotations

from matplotlib.figure import Figure

from pipeline.models.flow_readout import FlowReadout


def draw(model: FlowReadout) -> Figure:
    """Share of rows that are right against the mass of their posterior, as its card has it."""
    figure = Figure(figsize=(4.5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    sure, right = zip(*model.card.confidence, strict=True)
    axes.plot(sure, right, marker=".")
    axes.set(
        ylim=(0, 1), xlabel="-log10 of the posterior's mass away from its peak",
        ylabel="share within 15 degrees\nand 20 % of speed",
    )  # fmt: skip
    return figure
