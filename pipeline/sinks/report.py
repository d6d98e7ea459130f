"""``report.html``: one file with the plots of an analysis, which needs nothing beside it."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.models.delta import DeltaNetwork
from pipeline.models.flow_readout import FlowReadout
from pipeline.models.registry import Bank, Model
from pipeline.models.spiking import SpikingNetwork
from pipeline.packets import EARLY
from pipeline.sinks import kernels, networks
from pipeline.sinks.arrows import wheel
from pipeline.sinks.statistics import (
    DecisionStatistics,
    DetectionStatistics,
    EventStatistics,
    FieldStatistics,
    MotionStatistics,
    MoverStatistics,
    Statistics,
    mean_field,
)
from pipeline.sinks.style import INK, OFF, ON, SOFT, STYLE, direction_colour


@dataclass
class Plot:
    """A figure as SVG, and what a reader should know of it."""

    title: str
    note: str
    svg: str


def write_report(
    path: Path, summary: dict[str, Any], events: EventStatistics, found: dict[str, Statistics],
    models: dict[str, Model],
) -> None:  # fmt: skip
    """Draw the plots and write the page."""
    with mpl.rc_context(STYLE):
        # An answer that is empty is an answer: it has figures, and nothing to plot.
        plots = [_event_rate(events), _event_image(events)] if events.events else []
        plots += [plot for name, one in found.items() for plot in _plots_of(name, one, events)]
        plots += [plot for name, model in models.items() for plot in _model(name, model)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html.j2").render(summary=summary, plots=plots)
    path.write_text(page, encoding="utf-8")


def _plots_of(name: str, found: Statistics, events: EventStatistics) -> list[Plot]:
    """What is shown of one output."""
    match found:
        case DetectionStatistics():
            return _directions(name, found, events) if found.by_label.any() else []
        case FieldStatistics():
            shown = len(found.mean.sums) > 0
            return [_mean_motion(name, found, events), _field_over_time(name, found, events)] if shown else []
        case MotionStatistics():
            return [_whole_view(name, found, events)] if found.rows else []
        case MoverStatistics():
            return [_movers(name, found, events)] if found.rows else []
        case DecisionStatistics():
            return [_decisions(name, found, events)] if found.rows else []


def _event_rate(events: EventStatistics) -> Plot:
    figure = Figure((9, 2.6), layout="constrained")
    axes = figure.subplots()
    timeline = events.timeline
    rate = timeline.sums / (timeline.width_us * 1e-6) / 1e3
    at = _seconds(timeline.edges_us, events)
    for column, sign, colour, name in ((1, 1, ON, "ON"), (0, -1, OFF, "OFF")):
        axes.stairs(sign * rate[:, column], at, fill=True, color=colour, alpha=0.85, label=name)
    axes.axhline(0, color=INK, lw=0.6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set(xlabel="time since the first event [s]", ylabel="thousand events/s")
    axes.legend(frameon=False, ncols=2, loc="upper right")
    return Plot("Event rate", f"Bins of {timeline.width_us / 1000:g} ms; OFF downwards.", _svg(figure))


def _event_image(events: EventStatistics) -> Plot:
    figure = Figure((9, 9 * min(1.0, events.sensor.height / events.sensor.width)), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(np.log1p(events.image), cmap="magma", interpolation="nearest")
    bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{math.expm1(value):.0f}")
    bar.set_label("events per pixel")
    axes.set(xlabel="x [px]", ylabel="y [px]")
    return Plot("Where events fell", "All events together, logarithmic.", _svg(figure))


def _directions(name: str, found: DetectionStatistics, events: EventStatistics) -> list[Plot]:
    labels = found.port.labels
    if not labels or any(label.direction_deg is None for label in labels):
        return [_labels(name, found, events)] if labels else []
    directions = sorted({label.direction_deg or 0.0 for label in labels})
    of = np.array([directions.index(label.direction_deg or 0.0) for label in labels])
    over_time = np.zeros((len(found.timeline.sums), len(directions)))
    np.add.at(over_time.T, of, found.timeline.sums.T)
    total = over_time.sum(axis=0)
    radians = np.radians(directions)
    figure = Figure((9, 3.2), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[1, 2.3])
    left, right = parts
    rose: Any = left.subplots(subplot_kw={"projection": "polar"})
    rose.set_theta_direction(-1)  # y grows downwards, as on the sensor
    rose.bar(radians, total, width=2 * math.pi / len(directions) * 0.92, color=direction_colour(radians))
    rose.set_yticklabels([])
    rose.set_title("detections by direction", pad=14)
    axes = right.subplots()
    at = _seconds(found.timeline.edges_us, events)
    share = over_time / np.maximum(over_time.sum(axis=1, keepdims=True), 1)
    floor = np.zeros(len(share))
    for i, direction in enumerate(directions):
        axes.stairs(
            floor + share[:, i], at, baseline=floor, fill=True,
            color=direction_colour(radians[i]), label=f"{direction:g}°",
        )  # fmt: skip
        floor = floor + share[:, i]
    axes.set(xlabel="time since the first event [s]", ylabel="share of detections", ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    note = "0° = right, 90° = down, as y grows downwards. One detection per pixel, bin and winning motif."
    return [Plot(f"Directions: {name}", note, _svg(figure))]


def _labels(name: str, found: DetectionStatistics, events: EventStatistics) -> Plot:
    """Detections a second of each label, where labels are no directions; the most frequent ones."""
    figure = Figure((9, 2.6), layout="constrained")
    axes = figure.subplots()
    at = _seconds(found.timeline.edges_us, events)
    rate = found.timeline.sums / (found.timeline.width_us * 1e-6)
    for label in np.argsort(-found.by_label, kind="stable")[:8]:
        axes.stairs(rate[:, label], at, baseline=None, lw=1.2, label=found.port.labels[label].name)
    axes.set(xlabel="time since the first event [s]", ylabel="detections/s")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return Plot(f"Labels: {name}", "The most frequent labels.", _svg(figure))


def _whole_view(name: str, motion: MotionStatistics, events: EventStatistics) -> Plot:
    figure = Figure((9, 3.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    at = _seconds(motion.mean.edges_us, events)
    mean = motion.mean.sums[:, :4] / np.where(motion.mean.sums[:, 4:] > 0, motion.mean.sums[:, 4:], np.nan)
    for axes, first, names in (
        (upper, 0, ("vx (right > 0)", "vy (down > 0)")),
        (lower, 2, ("zoom", "rotation")),
    ):
        for i, label in enumerate(names):
            axes.stairs(mean[:, first + i], at, baseline=None, color=(ON, OFF)[i], lw=1.2, label=label)
        axes.axhline(0, color=SOFT, lw=0.6)
        axes.legend(frameon=False, ncols=2, loc="upper right")
    upper.set(ylabel="pan, tilt [px/ms]")
    lower.set(xlabel="time since the first event [s]", ylabel="zoom [1/s], rotation [rad/s]")
    note = "One movement of the whole view; zoom above 0: it grows, rotation above 0: it turns clockwise."
    return Plot(f"The whole view: {name}", note, _svg(figure))


def _movers(name: str, found: MoverStatistics, events: EventStatistics) -> Plot:
    """Where things went, and how fast."""
    figure = Figure((9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.3])
    background = np.log1p(events.image[: found.port.height, : found.port.width])
    left.imshow(background, cmap="gray_r", alpha=0.35, interpolation="nearest")
    vx, vy = found.first("vx").astype(np.float64), found.first("vy").astype(np.float64)
    colour = direction_colour(np.arctan2(vy, vx))
    at = _seconds(found.first("t"), events)
    x, y = found.first("x") + found.first("width") / 2, found.first("y") + found.first("height") / 2
    left.scatter(x, y, s=8, c=colour, linewidths=0)
    left.set(xlabel="x [px]", ylabel="y [px]")
    _wheel(left)
    right.scatter(at, 1000 * np.hypot(vx, vy), s=8, c=colour, linewidths=0)
    right.set(xlabel="time since the first event [s]", ylabel="speed [px/s]", ylim=(0, None))
    things = len(np.unique(found.first("id")))
    note = f"{things:,} that moved unlike the view: the middles of their boxes, coloured by direction."
    return Plot(f"What moves by itself: {name}", note, _svg(figure))


def _decisions(name: str, made: DecisionStatistics, events: EventStatistics) -> Plot:
    """Each decision from when to when it is about, the surer the darker; early ones are framed."""
    figure = Figure((9, 1.2 + 0.22 * len(made.by_label)), layout="constrained")
    axes = figure.subplots()
    start, end = _seconds(made.first("from_us"), events), _seconds(made.first("t"), events)
    sure, early = made.first("confidence"), made.first("flags") & EARLY > 0
    colours: Any = mpl.colormaps["Blues"](0.15 + 0.85 * np.clip(sure, 0, 1))
    axes.barh(
        made.first("label"), np.maximum(end - start, 1e-6), left=start, height=0.8, color=colours,
        edgecolor=[INK if one else SOFT for one in early], linewidth=0.6,
    )  # fmt: skip
    names = [label.name for label in made.port.labels]
    axes.set(xlabel="time since the first event [s]", yticks=range(len(names)), yticklabels=names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, max(events.duration_us * 1e-6, float(end.max())))
    many = "" if made.rows == 1 else "s"
    note = f"{made.rows:,} decision{many}; the surer the darker, framed where it came early."
    return Plot(f"Decisions: {name}", note, _svg(figure))


def _model(name: str, model: Model) -> list[Plot]:
    """What a model looks for, and how good it is."""
    if isinstance(model, SpikingNetwork | DeltaNetwork):
        note = f"Model {model.card.name} {model.card.version}. {model.card.accuracy.get('what', '')}"
        return [Plot(f"The network of {name}", note, _svg(networks.draw(model)))]
    if isinstance(model, FlowReadout):
        return []
    return _bank(name, model)


def _bank(name: str, bank: Bank) -> list[Plot]:
    """What a detector looks for, and what pruning it costs."""
    note = (
        f"Model {bank.card.name} {bank.card.version}: what is red excites a class where events are ON, "
        "what is blue where they are OFF; a column a delay."
    )
    plots = [Plot(f"Motifs of {name}", note, _svg(kernels.draw(bank)))]
    curves = kernels.curves(bank)
    if curves is not None:
        plots.append(
            Plot(f"Accuracy of {bank.card.name}", str(bank.card.accuracy.get("what", "")), _svg(curves))
        )
    return plots


def _mean_motion(name: str, field: FieldStatistics, events: EventStatistics) -> Plot:
    mean = mean_field(field.mean.sums)
    figure = Figure((9, 2.6), layout="constrained")
    axes = figure.subplots()
    at = _seconds(field.mean.edges_us, events)
    axes.stairs(mean.vx, at, baseline=None, color=ON, lw=1.2, label="vx (right > 0)")
    axes.stairs(mean.vy, at, baseline=None, color=OFF, lw=1.2, label="vy (down > 0)")
    axes.axhline(0, color=SOFT, lw=0.6)
    axes.set(xlabel="time since the first event [s]", ylabel="mean velocity [px/ms]")
    axes.legend(frameon=False, ncols=2, loc="upper right")
    return Plot(f"Mean motion: {name}", "Confidence-weighted mean over all tiles.", _svg(figure))


def _field_over_time(name: str, field: FieldStatistics, events: EventStatistics) -> Plot:
    sums = field.slices.sums
    panels = max(1, len(sums))
    across = min(4, panels)
    down = -(-panels // across)
    aspect = field.port.height / field.port.width
    figure = Figure((9, down * (9 / across * aspect + 0.3) + 0.2), layout="constrained")
    grid = np.atleast_1d(figure.subplots(down, across, squeeze=False)).ravel()
    background = np.log1p(events.image[: field.port.height, : field.port.width])
    y, x = np.mgrid[0 : field.rows, 0 : field.columns] * field.tile + field.tile / 2
    longest = _typical_speed(field)
    edges = _seconds(field.slices.edges_us, events)
    for i, axes in enumerate(grid):
        axes.set(xticks=[], yticks=[], xlim=(0, field.port.width), ylim=(field.port.height, 0))
        if i >= len(sums):
            axes.set_axis_off()
            continue
        axes.imshow(background, cmap="gray_r", alpha=0.35, interpolation="nearest")
        own = sums[i].reshape(field.rows, field.columns, 4)
        mean = mean_field(own)
        seen = mean.weight > 0
        angle = np.arctan2(mean.vy[seen], mean.vx[seen])
        sure = mean.weight[seen] / own[..., 3][seen]
        colour = np.concatenate([direction_colour(angle), 0.2 + 0.8 * sure[:, None]], axis=1)
        axes.quiver(
            x[seen], y[seen], mean.vx[seen], mean.vy[seen], color=colour,
            angles="xy", scale_units="xy", scale=longest / (1.4 * field.tile), pivot="mid",
            width=0.006, headwidth=4,
        )  # fmt: skip
        start, stop = max(0.0, edges[i]), min(events.duration_us * 1e-6, edges[i + 1])
        axes.set_title(f"{start:.3g} to {stop:.3g} s", fontsize=8)
    _wheel(grid[0])
    marked = "".join(
        f" {field.flags[name] / field.told:.0%} of the rows {what}."
        for name, what in _MARKS.items()
        if field.flags[name]
    )
    note = (
        f"Tiles of {field.tile} px; colour = direction, as on the wheel; an arrow of {1.4 * field.tile:.0f} px "
        f"is {_plain(1000 * longest)} px/s; what is less sure is paler.{marked}"
    )
    return Plot(f"Motion field over time: {name}", note, _svg(figure))


def _plain(value: float) -> str:
    """Two digits that count, and no power of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


_MARKS = {
    "warm_up": "are from the first moments",
    "unreliable": "are from video too slow to show motion",
    "aperture": "saw one edge alone, so that the movement along it is unknown",
}


def _wheel(axes: Any) -> None:
    """Which colour is which direction, into a corner."""
    inset = axes.inset_axes((0.84, 0.0, 0.16, 0.2), xticks=[], yticks=[])
    inset.imshow(wheel(40)[..., [2, 1, 0, 3]])
    inset.set_axis_off()


def _typical_speed(field: FieldStatistics) -> float:
    mean = mean_field(field.slices.sums)
    speeds = np.hypot(mean.vx, mean.vy)
    speeds = speeds[np.isfinite(speeds)]
    return float(np.percentile(speeds, 90)) if len(speeds) else 1.0


def _seconds(edges_us: NDArray[np.int64], events: EventStatistics) -> NDArray[np.float64]:
    return (edges_us - (events.t_first_us or 0)).astype(np.float64) * 1e-6


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
