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
_GAP = 2
"""Pixels between two of them."""


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
    most = np.maximum(np.abs(contrast[:classes, 1:]).max(axis=(1, 2, 3), initial=1), 1.0)
    panels = contrast[:classes, shown] / most[:, None, None, None]
    columns = 3 if classes > 8 else 1
    rows = -(-classes // columns)
    figure = Figure((3.2 * columns, 0.4 * rows + 0.4), layout="constrained")
    grid: Any = figure.subplots(1, columns, squeeze=False)[0]
    names = [label.name for label in bank.card.labels[:classes]]
    titles = [f"{delay * bank.card.bin_us / 1000:g} ms" for delay in shown]
    for column, axes in enumerate(grid):
        part = slice(column * rows, (column + 1) * rows)
        _mosaic(axes, panels[part], names[part], titles, rows)
    return figure


def _mosaic(axes: Any, panels: NDArray[np.float32], names: list[str], titles: list[str], rows: int) -> None:
    """Pictures [row, column, y, x] of -1 .. 1 in one, as hundreds of axes take seconds; room for ``rows`` rows."""
    high, wide = panels.shape[2] + _GAP, panels.shape[3] + _GAP
    whole = np.full((rows, len(titles), high, wide), np.nan, np.float32)
    whole[: len(panels), :, :-_GAP, :-_GAP] = panels
    image = whole.transpose(0, 2, 1, 3).reshape(rows * high, len(titles) * wide)
    axes.imshow(image, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks((np.arange(len(titles)) + 0.5) * wide - 0.5 * (1 + _GAP), titles, fontsize=6)
    axes.set_yticks((np.arange(len(names)) + 0.5) * high - 0.5 * (1 + _GAP), names, fontsize=5.5)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=2)
    axes.spines[:].set_visible(False)


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
