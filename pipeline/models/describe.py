"""What there is to say of a model, for people and for machines."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.models import cost
from pipeline.models.delta import DeltaNetwork
from pipeline.models.flow_readout import FlowReadout
from pipeline.models.registry import Model
from pipeline.models.spiking import SpikingNetwork


def describe(model: Model) -> dict[str, Any]:
    """Its card, digest, shape, and what it costs."""
    common = {**model.card.model_dump(mode="json"), "digest": model.digest}
    if isinstance(model, SpikingNetwork):
        return {**common, "costs": cost.of_network(model)}
    if isinstance(model, DeltaNetwork):
        return {**common, "costs": cost.of_delta(model)}
    weight = model.weight
    if isinstance(model, FlowReadout):
        return {
            **common,
            "shape": list(weight.shape),
            "weights": int(weight.size),
            "bytes": int(weight.size * 2),
        }
    return {
        **common, "shape": list(weight.shape), "weights": int(weight.size),
        "weights_not_zero": int(np.count_nonzero(weight)), "largest_weight": int(np.abs(weight).max(initial=0)),
        "bytes": int(weight.size * 2),
    }  # fmt: skip


def text(model: Model) -> str:
    """The same in lines."""
    seen = describe(model)
    lines = [f"{seen['name']} {seen['version']}: {seen['kind']} of {len(model.card.labels)} classes"]
    if isinstance(model, SpikingNetwork):
        lines += _network_lines(model, seen["costs"])
    elif isinstance(model, DeltaNetwork):
        lines += _delta_lines(model, seen["costs"])
    elif isinstance(model, FlowReadout):
        card = model.card
        lines += [
            f"weights      {seen['weights']:,}, {seen['bytes']:,} bytes",
            f"bank         {card.bank}, bins of {', '.join(f'{bin_us / 1000:g}' for bin_us in card.bins_us)} ms",
            f"tiles        {card.tile} pixels, windows of {card.window_us / 1000:g} ms",
        ]
    else:
        lines += [
            f"weights      {seen['weights']:,} ({seen['weights_not_zero']:,} not zero), {seen['bytes']:,} bytes",
            f"shape        {' x '.join(map(str, seen['shape']))}, bins of {model.card.bin_us} us",
            f"competition  {model.card.competition}",
        ]
    lines += [
        f"classes      {', '.join(label.name for label in model.card.labels)}",
        *(f"{key:12} {_short(value)}" for key, value in model.card.accuracy.items() if key != "confusion"),
        *_confusion(model.card.accuracy.get("confusion"), [label.name for label in model.card.labels]),
        f"made by      {model.card.provenance.get('command') or model.card.provenance.get('imported', 'unknown')}",
        f"licence      {model.card.licence or 'unknown'}",
        f"digest       {model.digest}",
    ]
    return "\n".join(lines)


def _network_lines(network: SpikingNetwork, costs: dict[str, Any]) -> list[str]:
    card = network.card
    how = card.encoding
    step = "" if how is None else f"{how.step_us} us" if how.step_us else f"{how.step_events} events"
    seen = (
        "not stated"
        if how is None
        else f"{how.width}x{how.height}, steps of {step}, {how.steps or 'any number'}"
    )
    lines = [
        f"input        {' x '.join(map(str, card.input))}; events: {seen}",
        *(f"  {one.name:10} {_side(one.shape)} {one.neuron.model}, {', '.join(i.op for i in one.inputs)}"
          for one in card.layers),
        f"parameters   {costs['parameters']:,}, {costs['footprint_bytes']:,} bytes; "
        f"{costs['state_bytes']:,} bytes of state a stream",
        f"weights at 0 {costs['connection_sparsity']:.1%}",
        f"dense MACs   {costs['dense_macs_a_step']:,} a step",
        f"bit budget   {costs['bit_budget']:,} (steps x bits of a weight x bits of a spike)",
    ]  # fmt: skip
    if card.read_as:
        lines.append(f"read as      {_short(card.read_as)}")
    if card.confidence:
        told = card.confidence
        lines.append(
            f"early        {told['accuracy_early']:.1%} after {told['share_of_steps']:.0%} of the steps at "
            f"confidence {told['threshold']}; {told['accuracy_all_steps']:.1%} after all; calibration error "
            f"{told['calibration_error']:.3f}"
            if "accuracy_early" in told else f"confidence   {_short(told)}"
        )  # fmt: skip
    return lines


def _delta_lines(network: DeltaNetwork, costs: dict[str, Any]) -> list[str]:
    card = network.card
    lines = [
        f"input        {' x '.join(map(str, card.input))}, steps of {card.input_step:g} up to {card.input_top}",
        *(f"  {one.name:10} {_side(one.shape)} {one.op}{', ReLU' if one.relu else ''}, q = {one.step:.4g}"
          for one in card.layers),
        f"parameters   {costs['parameters']:,}, {costs['footprint_bytes']:,} bytes; "
        f"{costs['state_bytes']:,} bytes of state a stream",
        f"dense MACs   {costs['dense_macs_a_step']:,} a step",
        f"bit budget   {costs['bit_budget']:,} (bits of a weight x bits of a level)",
    ]  # fmt: skip
    return [*lines, f"calibrated   {_short(card.calibration) or 'not yet'}"]


def _side(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _confusion(matrix: Any, names: list[str]) -> list[str]:
    """Truth down, answers across."""
    if not matrix:
        return []
    width = max(4, *(len(name) + 1 for name in names))
    lines = ["confusion    " + "".join(f"{name:>{width}}" for name in names)]
    for name, row in zip(names, matrix, strict=True):
        lines.append(f"  {name:>10} " + "".join(f"{n or '.':>{width}}" for n in row))
    return lines


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {one}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
