"""Writing a spiking network as a NIR graph, with what NIR leaves out as the graph's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np

from kernels.networks.neurons import COEFFICIENTS
from pipeline.models.bundle import ModelError
from pipeline.models.spiking import INPUT, ConnectionCard, LayerCard, SpikingNetwork


def write(network: SpikingNetwork, path: Path) -> None:
    """The network as a .nir file that :mod:`pipeline.models.nir_graph` reads back alike, without options.

    Raises:
        ModelError: it holds what NIR cannot say; the layer is named.
    """
    nodes, edges = _Export(network).graph()
    graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata=_metadata(network), type_check=False)
    uncompressed: Any = None  # 0-d numbers cannot be compressed
    nir.write(path, graph, compression=uncompressed)


class _Export:
    def __init__(self, network: SpikingNetwork) -> None:
        self._network, self._dt = network, _dt(network)
        self._shapes = {INPUT: network.card.input, **{one.name: one.shape for one in network.card.layers}}
        self.nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": _shape(network.card.input)})}
        self.edges: list[tuple[str, str]] = []

    def graph(self) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Nodes and edges."""
        for layer in self._network.card.layers:
            self._layer(layer)
        last = self._network.card.layers[-1]
        self.nodes["output"] = nir.Output(output_type={"output": _shape(last.shape)})
        self.edges.append((self._end(last.name), "output"))
        return self.nodes, self.edges

    def _layer(self, layer: LayerCard) -> None:
        values = self._values(layer)
        neuron = self._neuron(layer, values)
        if neuron is not None:
            self.nodes[layer.name] = neuron
        elif len(layer.inputs) != 1:
            raise ModelError(f"layer {layer.name}: a sum without neurons cannot be said in NIR")
        bias = values["bias"] if layer.neuron.model == "cuba" else values["constant"] / values["gain"]
        for i, one in enumerate(layer.inputs):
            name = layer.name if neuron is None else f"{layer.name}_in{i}"
            made = self._connection(layer, one, i, bias if i == 0 else None)
            if made is None:
                self.edges.append((self._end(one.source), layer.name))
                continue
            above = self._end(one.source)
            if one.op == "dense" and self._shapes[one.source][1:] != (1, 1):
                shape = self._shapes[one.source]
                self.nodes[f"{name}_flat"] = nir.Flatten(
                    input_type={"input": _shape(shape)}, start_dim=0, end_dim=-1
                )
                self.edges.append((above, f"{name}_flat"))
                above = f"{name}_flat"
            self.nodes[name] = made
            self.edges.append((above, name))
            if neuron is not None:
                self.edges.append((name, layer.name))

    def _end(self, source: str) -> str:
        return "input" if source == INPUT else source

    def _values(self, layer: LayerCard) -> dict[str, Any]:
        made = self._network.layers[layer.name].neurons
        rows = made.coefficient[:, :, : made.channels].astype(np.float64)
        return {
            name: _in_order(rows[i], layer.shape) for i, name in enumerate(COEFFICIENTS)
        }  # fmt: skip

    def _neuron(self, layer: LayerCard, values: dict[str, Any]) -> Any:
        model, dt = layer.neuron.model, self._dt
        if model == "linear":
            return None
        if model == "threshold":
            return nir.Threshold(threshold=values["threshold"])
        if model == "alif":
            raise ModelError(f"layer {layer.name}: NIR has no adaptive neurons")
        decay, gain = values["decay"], values["gain"]
        after = (
            values["reset_to"]
            if "subtract" not in layer.neuron.reset and layer.neuron.reset != "residual"
            else np.zeros_like(decay)
        )
        level = values["threshold"]
        if (decay == 1).all() and model == "lif":
            r = gain / dt
            return (
                nir.I(r=r) if layer.neuron.sends_potential else nir.IF(r=r, v_threshold=level, v_reset=after)
            )
        if (decay == 1).any():
            raise ModelError(f"layer {layer.name}: neurons with and without a leak")
        tau = dt / (1 - decay)
        common = {"r": gain * tau / dt, "v_leak": np.zeros_like(tau)}
        if model == "cuba":
            if (values["syn_decay"] == 1).any():
                raise ModelError(f"layer {layer.name}: synaptic currents that do not decay")
            tau_syn = dt / (1 - values["syn_decay"])
            common |= {"tau_mem": tau, "tau_syn": tau_syn, "w_in": values["syn_gain"] * tau_syn / dt}
            if layer.neuron.sends_potential:
                return nir.CubaLI(**common)
            return nir.CubaLIF(**common, v_threshold=level, v_reset=after)
        if layer.neuron.sends_potential:
            return nir.LI(tau=tau, **common)
        return nir.LIF(tau=tau, **common, v_threshold=level, v_reset=after)

    def _connection(self, layer: LayerCard, one: ConnectionCard, i: int, bias: Any) -> Any:
        """The node of a connection, or None where neurons are read one to one."""
        tensors, prefix = self._network.tensors, f"{layer.name}/{i}"
        offset = np.zeros(layer.shape[0]) if bias is None else _by_channel(bias, layer)
        if one.op == "dense":
            if f"{prefix}/delay" in tensors:
                raise ModelError(f"layer {layer.name}: NIR has no delay of its own for each synapse")
            return nir.Affine(weight=np.asarray(tensors[f"{prefix}/weight"]), bias=offset)
        if one.op == "conv2d":
            return nir.Conv2d(
                input_shape=self._shapes[one.source][1:], weight=np.asarray(tensors[f"{prefix}/weight"]),
                stride=one.stride, padding=one.pad, dilation=one.dilation, groups=one.groups, bias=offset,
            )  # fmt: skip
        if offset.any():
            raise ModelError(f"layer {layer.name}: a bias without weights cannot be said in NIR")
        if one.op == "one_to_one":
            return self._own_values(layer, prefix)
        kind = nir.SumPool2d if one.op == "sum_pool" else nir.AvgPool2d
        return kind(kernel_size=np.array(one.size), stride=np.array(one.stride), padding=np.array(one.pad))

    def _own_values(self, layer: LayerCard, prefix: str) -> Any:
        tensors = self._network.tensors
        weight, delay = tensors.get(f"{prefix}/weight"), tensors.get(f"{prefix}/delay")
        if weight is not None and delay is not None:
            raise ModelError(f"layer {layer.name}: scaled and delayed in one connection")
        shape = _shape(layer.shape)
        if weight is not None:
            return nir.Scale(scale=np.broadcast_to(weight, int(np.prod(shape))).reshape(shape))
        if delay is not None:
            return nir.Delay(delay=np.broadcast_to(delay, int(np.prod(shape))).reshape(shape) * self._dt)
        return None


def _metadata(network: SpikingNetwork) -> dict[str, Any]:
    """What :func:`pipeline.models.profiles.resolve` finds."""
    spiking = [
        layer for layer in network.card.layers
        if not layer.neuron.sends_potential and layer.neuron.model in {"lif", "cuba"}
    ]  # fmt: skip
    kinds = {(one.neuron.reset, one.neuron.threshold, one.neuron.many) for one in spiking}
    if len(kinds) > 1:
        raise ModelError(f"layers reset or fire in {len(kinds)} ways, and NIR's metadata can say one")
    told: dict[str, Any] = {"source": "nir", "dt": _dt(network), "method": "euler"}
    if kinds:
        reset, threshold, many = kinds.pop()
        told |= {"reset": reset, "threshold": threshold, "many": many}
    floors = {
        float(network.layers[one.name].neurons.coefficient[COEFFICIENTS.index("floor"), 0, 0])
        for one in spiking
    }
    if len(floors) == 1 and np.isfinite(floor := floors.pop()):
        told["floor"] = floor
    return told


def _dt(network: SpikingNetwork) -> float:
    encoding = network.card.encoding
    if "dt" in network.card.read_as:
        return float(network.card.read_as["dt"])
    return encoding.step_us * 1e-6 if encoding and encoding.step_us else 1e-3


def _shape(side: tuple[int, int, int]) -> Any:
    channels, height, width = side
    return np.array([channels] if (height, width) == (1, 1) else [channels, height, width])


def _in_order(values: Any, side: tuple[int, int, int]) -> Any:
    """[site or 1, channel] as one number, or for each neuron in the shape of the layer."""
    channels, height, width = side
    spread = np.broadcast_to(values, (height * width, channels))
    laid = spread.T.reshape([channels] if (height, width) == (1, 1) else [channels, height, width])
    return np.ascontiguousarray(laid)


def _by_channel(bias: Any, layer: LayerCard) -> Any:
    """A bias as one number a channel."""
    flat = np.asarray(bias).reshape(layer.shape[0], -1)
    if (flat != flat[:, :1]).any():
        raise ModelError(f"layer {layer.name}: a bias of its own for each neuron of a grid")
    return flat[:, 0]
