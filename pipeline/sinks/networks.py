"""Drawings of a spiking network: its first kernels, whom it takes for whom, and how early it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.models.delta import DeltaNetwork
from pipeline.models.spiking import SpikingNetwork
from pipeline.sinks.style import INK, OFF, ON, SOFT

Network = SpikingNetwork | DeltaNetwork
_MOST_KERNELS = 64


def draw(network: Network) -> Figure:
    """One row of panels: what there is of kernels, confusion and curves."""
    panels = [panel for panel in (_kernels, _confusion, _early) if panel(network, None)]
    figure = Figure((max(1, len(panels)) * 4.2, 3.9), layout="constrained")
    if not panels:
        figure.text(
            0.5, 0.5, f"{network.card.name}: nothing measured, nothing to draw", ha="center", color=INK
        )
        return figure
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        panel(network, axes)
    return figure


def _kernels(network: Network, axes: Axes | None) -> bool:
    """The kernels of the first layer, ON minus OFF."""
    first = network.card.layers[0]
    name = f"{first.name}/0/weight" if isinstance(network, SpikingNetwork) else f"{first.name}/weight"
    weight = network.tensors.get(name)
    if weight is None or weight.ndim != 4 or max(weight.shape[2:]) < 2:
        return False
    if axes is None:
        return True
    shown: Any = weight[:, -1] - weight[:, 0] if weight.shape[1] == 2 else weight.mean(axis=1)
    shown = shown[:_MOST_KERNELS]
    across = int(np.ceil(np.sqrt(len(shown))))
    height, width = shown.shape[1] + 1, shown.shape[2] + 1
    sheet = np.full((-(-len(shown) // across) * height - 1, across * width - 1), np.nan)
    for i, kernel in enumerate(shown):
        y, x = i // across * height, i % across * width
        sheet[y : y + height - 1, x : x + width - 1] = kernel / max(np.abs(kernel).max(), 1e-9)
    axes.imshow(sheet, cmap="coolwarm", vmin=-1, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=f"kernels of {first.name}, ON minus OFF")
    return True


def _confusion(network: Network, axes: Axes | None) -> bool:
    """Truth down, answers across, each row as shares."""
    matrix = network.card.accuracy.get("confusion")
    if not matrix:
        return False
    if axes is None:
        return True
    counts = np.array(matrix, np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    names = [label.name for label in network.card.labels]
    if len(names) <= 16:
        for y, x in zip(*np.nonzero(counts), strict=True):
            tint = "white" if share[y, x] > 0.5 else INK
            axes.text(x, y, f"{counts[y, x]:.0f}", ha="center", va="center", fontsize=7, color=tint)
        axes.set(xticks=range(len(names)), yticks=range(len(names)), xticklabels=names, yticklabels=names)
    axes.set(
        xlabel="answer", ylabel="truth", title=f"confusion, {network.card.accuracy.get('class', 0):.1%} right"
    )
    return True


def _early(network: Network, axes: Axes | None) -> bool:
    """Accuracy by how much of a recording was looked at: always so much, or as confidence decides."""
    told = network.card.confidence if isinstance(network, SpikingNetwork) else {}
    by_step, curve = network.card.accuracy.get("by_step"), told.get("curve")
    if not by_step:
        return False
    if axes is None:
        return True
    share = 100 * (np.arange(len(by_step)) + 1) / len(by_step)
    axes.plot(share, 100 * np.array(by_step), color=SOFT, marker="o", ms=3, label="after so many steps")
    if curve:
        _, accuracy, looked = np.array(curve).T
        axes.plot(100 * looked, 100 * accuracy, color=ON, lw=1.4, label="as confidence decides")
        at = 100 * told["share_of_steps"], 100 * told["accuracy_early"]
        axes.plot(*at, marker="D", color=OFF, ls="", label=f"confidence {told['threshold']}")
    axes.set(xlabel="of the recording [%]", ylabel="right [%]", title="how early it is right")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    return True
