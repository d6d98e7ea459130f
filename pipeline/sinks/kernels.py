"""Drawings of a bank: each class's kernel over the delays, and how accuracy falls as it is pruned."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.models.motif_bank import MotifBank
from pipeline.models.registry import Bank
from pipeline.sinks.style import INK, OFF, ON, SOFT

_MOST_CLASSES = 48
_PANELS = 7


def draw(bank: Bank) -> Figure:
    """A bank's weights."""
    return _on_pixels(bank) if isinstance(bank, MotifBank) else _on_addresses(bank)


def _on_pixels(bank: MotifBank) -> Figure:
    """Signed roots of ON minus OFF weights, a row a class, a column a delay: red excites when ON, blue when OFF."""
    difference: NDArray[np.float32] = bank.weight[:, 1] - bank.weight[:, 0]
    # Roots, or the few large weights would hide the many small ones.
    contrast = np.sign(difference) * np.sqrt(np.abs(difference))
    classes, delays = min(len(contrast), _MOST_CLASSES), contrast.shape[1]
    shown = np.unique(np.linspace(0, delays - 1, min(_PANELS, delays)).round().astype(int))
    columns = 3 if classes > 8 else 1
    rows = -(-classes // columns)
    figure = Figure((3.2 * columns, 0.48 * rows + 0.6), layout="constrained")
    parts: Any = figure.subfigures(1, columns, squeeze=False)[0]
    for column in range(columns):
        grid: Any = parts[column].subplots(rows, len(shown), squeeze=False)
        for row in range(rows):
            label = column * rows + row
            for panel, delay in enumerate(shown):
                axes = grid[row, panel]
                axes.set(xticks=[], yticks=[])
                if label >= classes:
                    axes.set_axis_off()
                    continue
                most = max(float(np.abs(contrast[label, 1:]).max(initial=1)), 1.0)
                axes.imshow(
                    contrast[label, delay], cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest"
                )
                axes.spines[:].set_visible(False)
                if row == 0:
                    axes.set_title(f"{delay * bank.card.bin_us / 1000:g} ms", fontsize=6, loc="center", pad=2)
                if panel == 0:
                    axes.set_ylabel(
                        bank.card.labels[label].name, fontsize=5.5, rotation=0, ha="right", va="center"
                    )
    return figure


def curves(bank: Bank) -> Figure | None:
    """Accuracy against the share of the weights that is kept, and against the delays that are kept."""
    accuracy = bank.card.accuracy
    if "pruning" not in accuracy:
        return None
    figure = Figure((9, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    kept = [(1.0, accuracy["class"]), *((float(k), v) for k, v in accuracy["pruning"].items())]
    left.plot([k for k, _ in kept], [v for _, v in kept], "o-", color=ON, label="this bank", ms=4)
    left.set(xscale="log", xlabel="share of the weights kept", ylabel="accuracy", ylim=(0, 1.02))
    whole = bank.weight.shape[2]
    shorter = [(1.0, accuracy["class"]), *((int(d) / whole, v) for d, v in accuracy["shortening"].items())]
    right.plot([d for d, _ in shorter], [v for _, v in shorter], "o-", color=ON, label="this bank", ms=4)
    right.set(xlabel="share of the delays kept, shortest first")
    if len(bank.card.labels) == len(PAPER_CLASSES):
        left.plot(*zip(*PAPER_PRUNING, strict=True), "s--", color=OFF, label="Grimaldi & Perrinet 2023", ms=3)
        right.plot(
            *zip(*PAPER_SHORTENING, strict=True), "s--", color=OFF, label="Grimaldi & Perrinet 2023", ms=3
        )
    for axes in (left, right):
        axes.axhline(accuracy["chance"], color=SOFT, lw=0.8, ls=":")
        axes.legend(frameon=False, fontsize=7, loc="lower right")
        axes.tick_params(colors=INK)
    return figure


PAPER_CLASSES = range(36)
PAPER_PRUNING = (
    (1.0, 0.975), (0.17, 0.965), (0.028, 0.965), (0.0116, 0.965), (0.0064, 0.945),
    (0.0048, 0.92), (0.0026, 0.86), (0.0020, 0.75), (0.00145, 0.475),
)  # fmt: skip
"""(share of the weights kept, accuracy) of the authors' bank of 36 classes, on images that it had learned from."""
PAPER_SHORTENING = (
    (1.0, 0.975),
    (0.71, 0.955),
    (0.62, 0.92),
    (0.52, 0.855),
    (0.43, 0.65),
    (0.24, 0.225),
    (0.05, 0.07),
)
"""(share kept when the longest delays are dropped, accuracy) of the same."""


def _on_addresses(bank: Bank) -> Figure:
    """Weights, addresses across and delays down, a panel a class."""
    classes = min(len(bank.weight), 16)
    figure = Figure((9, 1.2 * classes + 0.4), layout="constrained")
    grid: Any = figure.subplots(classes, 1, squeeze=False)[:, 0]
    grid[-1].set(xlabel="address")
    for label, axes in enumerate(grid):
        shown = bank.weight[label].T
        most = max(float(np.abs(shown).max(initial=1)), 1.0)
        axes.imshow(shown, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        axes.set_title(bank.card.labels[label].name, fontsize=7)
        axes.set(ylabel="delay")
    return figure
