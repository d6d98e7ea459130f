"""Networks in NIR files, the format in which frameworks exchange spiking networks (Pedersen et al., 2024).

Weights and the neurons behind them become one layer; pooling, scaling and delays become layers without
memory; nested graphs are laid flat; an edge that closes a cycle carries what was sent one step before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kernels.networks.neurons import Model
from pipeline.hdf5_heaps import heaps_are_sound
from pipeline.models.bundle import ModelError, MotifLabel, Tensors, line_of
from pipeline.models.profiles import Reading, Resolved, coefficients, resolve, warnings_of
from pipeline.models.spiking import (
    INPUT,
    MOST_DELAY,
    ConnectionCard,
    Encoding,
    LayerCard,
    NeuronCard,
    Pair,
    Side,
    SpikingCard,
)

NODES = (
    "Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "AvgPool2d", "SumPool2d", "Flatten",
    "Delay", "Threshold", "I", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "NIRGraph",
)  # fmt: skip
"""Every kind of node that is read."""

_NEURONS = {"I", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "Threshold"}
_WEIGHTS = {"Affine", "Linear", "Conv1d", "Conv2d"}
_MAX_BYTES, _MAX_NODES, _MAX_DEPTH = 2**28, 4096, 16


def read(
    path: Path, reading: Reading, name: str, encoding: Encoding | None = None
) -> tuple[SpikingCard, Tensors]:
    """The network in a NIR file, as card and tensors.

    Raises:
        ModelError: it is none, or holds what is not understood; the node is named.
    """
    _check_file(path)
    try:
        with h5py.File(path, "r") as file:
            graph = _Node.of(file["node"], 0)
    except (KeyError, ValueError, TypeError, OSError, RecursionError, AttributeError) as problem:
        raise ModelError(f"{path.name}: not a NIR graph: {line_of(problem)}") from problem
    how = resolve(reading, graph.metadata)
    try:
        return _Import(graph, how).network(path.name, name, encoding)
    except ModelError as problem:
        raise ModelError(f"{path.name}: {problem}") from problem
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise ModelError(f"{path.name}: {line_of(problem)}") from problem


class _Node:
    """A node as the file holds it: its numbers are attributes, None where they were left out.

    The library's own reader refuses files whose optional parts are missing, as older exporters write them.
    """

    def __init__(self, kind: str, values: dict[str, Any]) -> None:
        self.kind, self._values = kind, values
        self.nodes: dict[str, _Node] = {}
        self.edges: list[tuple[str, str]] = []
        self.metadata: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return self._values.get(name)

    @classmethod
    def of(cls, group: Any, depth: int) -> _Node:
        """From its group in the file."""
        if depth > _MAX_DEPTH:
            raise ModelError(f"graphs nested deeper than {_MAX_DEPTH}")
        values = {key: _value(item) for key, item in group.items() if isinstance(item, h5py.Dataset)}
        node = cls(str(values.pop("type")), values)
        if "metadata" in group:
            node.metadata = {
                key: _value(item) for key, item in group["metadata"].items() if isinstance(item, h5py.Dataset)
            }
        if node.kind == "NIRGraph":
            node.nodes = {str(key): cls.of(item, depth + 1) for key, item in group["nodes"].items()}
            node.edges = [(_text(a), _text(b)) for a, b in group["edges"][()]]
        return node


def _value(item: Any) -> Any:
    value = item[()]
    return value.decode() if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@dataclass
class _Flow:
    """What comes out of a node.

    Attributes:
        layer: which layer sends it, or which weights do where no layer was made of them yet.
        shape: (channels, height, width) of the layer.
        flat: it is spoken of as [neuron] in the order (channel, y, x).
    """

    layer: str
    shape: Side
    flat: bool


@dataclass
class _Draft:
    """A layer that is being put together."""

    name: str
    shape: Side
    neuron: NeuronCard
    tensors: Tensors = field(default_factory=dict)
    inputs: list[tuple[ConnectionCard, Tensors]] = field(default_factory=list)
    bias: Any = 0.0
    biased: set[str] = field(default_factory=set[str])


class _Import:
    def __init__(self, graph: _Node, how: Resolved) -> None:
        self.how = how
        self.nodes: dict[str, _Node] = {}
        self.edges: list[tuple[str, str]] = []
        self._flatten(graph, "")
        self._skip_inner_ends()
        self.before = {name: sorted({a for a, b in self.edges if b == name}) for name in self.nodes}
        self.after = {name: sorted({b for a, b in self.edges if a == name}) for name in self.nodes}
        self.cyclic = self._cyclic()
        self.flows: dict[str, _Flow] = {}
        self.drafts: dict[str, _Draft] = {}

    def network(self, file: str, name: str, encoding: Encoding | None) -> tuple[SpikingCard, Tensors]:
        """The card and the tensors."""
        starts = [node for node in self.nodes if self._kind(node) == "Input"]
        ends = [node for node in self.nodes if self._kind(node) == "Output"]
        if len(starts) != 1 or len(ends) != 1:
            raise ModelError(
                f"{file}: {len(starts)} inputs and {len(ends)} outputs; one of each is understood"
            )
        start = _side(self.nodes[starts[0]].shape)
        self.flows[starts[0]] = _Flow(INPUT, start, start[1:] == (1, 1))
        order, closing = self._order(starts[0])
        for node in order:
            self._shape(node)
        for node in order:
            self._layer(node, closing)
        if not self.before[ends[0]]:
            raise ModelError("nothing leads to its output")
        last = self._answer(ends[0])
        drafts = [draft for draft in self.drafts.values() if draft.name != last]
        drafts.append(self.drafts[last])
        tensors: Tensors = {}
        layers: list[LayerCard] = []
        for draft in drafts:
            layers.append(self._finish(draft, tensors))
        outputs = int(np.prod(self.drafts[last].shape))
        told = warnings_of({self._kind(node) for node in self.nodes}, self.how)
        card = SpikingCard(
            name=name, version="1.0.0", labels=tuple(MotifLabel(name=str(i)) for i in range(outputs)),
            input=start, layers=tuple(layers), encoding=encoding,
            read_as=self.how.model_dump(),
            provenance={"imported": file, "format": "NIR"} | ({"warnings": told} if told else {}),
            licence="belongs to whoever made the network",
        )  # fmt: skip
        return card, tensors

    # -- the graph ------------------------------------------------------------------------------

    def _flatten(self, graph: _Node, prefix: str) -> None:
        for name, node in graph.nodes.items():
            kind = node.kind
            if kind not in NODES:
                raise ModelError(
                    f"node {prefix}{name}: {kind} is not understood; allowed are {', '.join(NODES)}"
                )
            if kind == "NIRGraph":
                self._flatten(node, f"{prefix}{name}.")
                continue
            self.nodes[prefix + str(name)] = node
            if len(self.nodes) > _MAX_NODES:
                raise ModelError(f"more than {_MAX_NODES} nodes")
        inner = {name for name, node in graph.nodes.items() if node.kind == "NIRGraph"}
        for a, b in graph.edges:
            source, target = str(a), str(b)
            for end in (source, target):
                if end not in graph.nodes:
                    raise ModelError(f"an edge names {prefix}{end}, and there is no such node")
            source = f"{source}.output" if source in inner else source
            target = f"{target}.input" if target in inner else target
            self.edges.append((prefix + source, prefix + target))

    def _skip_inner_ends(self) -> None:
        """Inputs and outputs of nested graphs only pass on."""
        for name in [n for n in self.nodes if "." in n and self._kind(n) in {"Input", "Output"}]:
            if not any(b == name for _, b in self.edges) and self._kind(name) == "Input":
                continue
            sources = [a for a, b in self.edges if b == name]
            targets = [b for a, b in self.edges if a == name]
            if not sources or not targets:
                continue
            self.edges = [edge for edge in self.edges if name not in edge]
            self.edges += [(a, b) for a in sources for b in targets]
            del self.nodes[name]

    def _kind(self, name: str) -> str:
        return self.nodes[name].kind

    def _order(self, start: str) -> tuple[list[str], set[tuple[str, str]]]:
        """Nodes from the input on, each behind what it reads, and the edges that close a cycle."""
        closing: set[tuple[str, str]] = set()
        done: list[str] = []
        state: dict[str, int] = {}
        stack: list[tuple[str, int]] = [(start, 0)]
        state[start] = 1
        while stack:
            name, i = stack.pop()
            following = self.after[name]
            if i == len(following):
                state[name] = 2
                done.append(name)
                continue
            stack.append((name, i + 1))
            target = following[i]
            if state.get(target) == 1:
                closing.add((name, target))
            elif target not in state:
                state[target] = 1
                stack.append((target, 0))
        return done[::-1], closing

    def _cyclic(self) -> set[str]:
        """Nodes that hear of themselves: those of a strongly connected part of the graph (Kosaraju)."""
        finished: list[str] = []
        seen: set[str] = set()
        for root in self.nodes:
            stack = [(root, 0)] if root not in seen else []
            seen.add(root)
            while stack:
                name, i = stack.pop()
                if i == len(self.after[name]):
                    finished.append(name)
                    continue
                stack.append((name, i + 1))
                target = self.after[name][i]
                if target not in seen:
                    seen.add(target)
                    stack.append((target, 0))
        found: set[str] = set()
        taken: set[str] = set()
        for root in reversed(finished):
            part: list[str] = []
            stack_ = [root] if root not in taken else []
            taken.add(root)
            while stack_:
                name = stack_.pop()
                part.append(name)
                fresh = [one for one in self.before[name] if one not in taken]
                taken.update(fresh)
                stack_ += fresh
            if len(part) > 1 or (part and part[0] in self.after[part[0]]):
                found.update(part)
        return found

    # -- shapes ---------------------------------------------------------------------------------

    def _shape(self, name: str) -> None:
        """The flow out of a node, from what flows into it."""
        if name in self.flows:
            return
        node, kind = self.nodes[name], self._kind(name)
        known = [self.flows[one] for one in self.before[name] if one in self.flows]
        if not known:
            raise ModelError(f"node {name}: nothing that is known leads to it")
        into = known[0]
        shape, flat = into.shape, into.flat
        if kind in {"Affine", "Linear"}:
            shape, flat = (int(node.weight.shape[0]), 1, 1), True
        elif kind == "Flatten":
            flat = True
        elif kind in {"Conv1d", "Conv2d", "AvgPool2d", "SumPool2d"}:
            if flat and shape[1:] == (1, 1) and kind != "Conv1d":
                raise ModelError(f"node {name}: {kind} reads {shape[0]} inputs without a grid")
            shape, flat = self._windowed(name, node, kind, into.shape), False
        self.flows[name] = _Flow(name, shape, flat)

    def _windowed(self, name: str, node: Any, kind: str, into: Side) -> Side:
        window = self._window(node, kind, into)
        sides = [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, k, s, p, d in zip(
                into[1:], window["size"], window["stride"], window["pad"], window["dilation"], strict=True
            )
        ]
        if min(sides) < 1:
            raise ModelError(f"node {name}: its window is larger than {into[1]}x{into[2]}")
        channels = into[0] if kind.endswith("Pool2d") else int(node.weight.shape[0])
        return channels, sides[0], sides[1]

    def _window(self, node: Any, kind: str, into: Side) -> dict[str, Pair]:
        if kind.endswith("Pool2d"):
            return {
                "size": _pair(node.kernel_size), "stride": _pair(node.stride), "pad": _pair(node.padding),
                "dilation": (1, 1),
            }  # fmt: skip
        one_d = kind == "Conv1d"
        size = (1, int(node.weight.shape[2])) if one_d else _pair(node.weight.shape[2:])
        dilation = _pair(node.dilation, one_d, 1)
        return {
            "size": size, "stride": _pair(node.stride, one_d, 1), "dilation": dilation,
            "pad": _padding(node.padding, size, dilation, one_d),
        }  # fmt: skip

    # -- layers ---------------------------------------------------------------------------------

    def _layer(self, name: str, closing: set[tuple[str, str]]) -> None:
        """Make the layer of a node, unless it is a part of the next one."""
        kind = self._kind(name)
        if kind in {"Input", "Output", "Flatten"} or (kind in _WEIGHTS and self._joins(name)):
            return
        self._make(name, closing)

    def _make(self, name: str, closing: set[tuple[str, str]]) -> None:
        node, kind, flow = self.nodes[name], self._kind(name), self.flows[name]
        draft = _Draft(_plain(name), flow.shape, self._neuron(name, kind))
        self.drafts[draft.name] = draft
        if kind in _NEURONS:
            draft.tensors = self._coefficients(name, kind, flow)
            for before in self.before[name]:
                self._connect(draft, before, (before, name) in closing, closing)
            return
        for before in self.before[name]:
            source, recurrent = self._source(before, (before, name) in closing, closing)
            self._read(draft, name, node, kind, source, recurrent)

    def _neuron(self, name: str, kind: str) -> NeuronCard:
        if kind not in _NEURONS:
            return NeuronCard(model="linear")
        how = self.how
        if kind == "Threshold":
            return NeuronCard(model="threshold", threshold=how.threshold)
        model: Model = "cuba" if kind.startswith("Cuba") else "lif"
        if kind in {"I", "LI", "CubaLI"}:
            return NeuronCard(model=model, sends_potential=True)
        reset = how.reset
        if how.source == "snntorch" and reset == "delayed_hard" and (model == "cuba" or name in self.cyclic):
            reset = "delayed_clear"  # what Synaptic and recurrent neurons do where Leaky sets first
        return NeuronCard(model=model, reset=reset, threshold=how.threshold, many=how.many)

    def _coefficients(self, name: str, kind: str, flow: _Flow) -> Tensors:
        node = self.nodes[name]
        if kind == "Threshold":
            values = {"threshold": np.asarray(node.threshold, np.float32)}
        else:
            parameters = {
                key: np.asarray(getattr(node, key))
                for key in ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")
                if getattr(node, key, None) is not None
            }
            for key, value in parameters.items():
                _spread(value, flow, f"node {name}: {key}")
            values = coefficients(kind, parameters, self.how)
        return {key: _spread(value, flow, f"node {name}: {key}") for key, value in values.items()}

    def _joins(self, name: str) -> bool:
        """Whether weights are read by neurons only, so that both are one layer."""
        followers = self.after[name]
        return bool(followers) and all(self._kind(one) in _NEURONS for one in followers)

    def _connect(self, draft: _Draft, before: str, recurrent: bool, closing: set[tuple[str, str]]) -> None:
        """An edge onto neurons: through weights that join them, or one to one."""
        if before != "" and self._kind(before) in _WEIGHTS and self._joins(before):
            node, kind = self.nodes[before], self._kind(before)
            for above in self.before[before]:
                source, loops = self._source(above, recurrent or (above, before) in closing, closing)
                self._read(draft, before, node, kind, source, loops)
            return
        source, loops = self._source(before, recurrent, closing)
        if self.flows[before].shape != draft.shape:
            raise ModelError(
                f"node {before}: sends {self.flows[before].shape} to {draft.name} of {draft.shape}"
            )
        draft.inputs.append((ConnectionCard(source=source, op="one_to_one", recurrent=loops), {}))

    def _source(self, name: str, recurrent: bool, closing: set[tuple[str, str]]) -> tuple[str, bool]:
        """The layer behind a node, through what only renames neurons."""
        while self._kind(name) == "Flatten":
            (above,) = self.before[name]
            recurrent, name = recurrent or (above, name) in closing, above
        return (INPUT if self._kind(name) == "Input" else _plain(name)), recurrent

    def _read(self, draft: _Draft, name: str, node: Any, kind: str, source: str, recurrent: bool) -> None:
        """Append the connection that a node stands for."""
        card: dict[str, Any] = {"source": source, "recurrent": recurrent}
        tensors: Tensors = {}
        if kind in {"Affine", "Linear"}:
            card["op"], tensors["weight"] = "dense", np.asarray(node.weight, np.float32)
        elif kind in {"Conv1d", "Conv2d"}:
            weight = np.asarray(node.weight, np.float32)
            tensors["weight"] = weight[:, :, None] if kind == "Conv1d" else weight
            into = self.flows[self.before[name][0]].shape
            card |= {"op": "conv2d", "groups": int(node.groups), **self._window(node, kind, into)}
            del card["size"]
        elif kind.endswith("Pool2d"):
            card["op"] = "sum_pool" if kind == "SumPool2d" else "average_pool"
            card |= self._window(node, kind, draft.shape)
        elif kind == "Scale":
            card["op"], tensors["weight"] = (
                "one_to_one",
                _spread(node.scale, self.flows[name], f"node {name}"),
            )
        elif kind == "Delay":
            steps = np.rint(np.asarray(node.delay, np.float64) / self.how.dt)
            if not (np.isfinite(steps).all() and steps.min() >= 0 and steps.max() <= MOST_DELAY):
                raise ModelError(
                    f"node {name}: delays of {steps.min():g} to {steps.max():g} steps of {self.how.dt:g} s; "
                    f"allowed are 0 to {MOST_DELAY}"
                )
            card["op"] = "one_to_one"
            tensors["delay"] = _spread(steps, self.flows[name], f"node {name}").astype(np.int16)
        bias = None if name in draft.biased else getattr(node, "bias", None)
        draft.biased.add(name)  # what several edges lead to is one sum, to which the bias comes once
        if bias is not None and np.any(np.asarray(bias) != 0):
            shape = self.flows[name].shape
            values = np.asarray(bias, np.float32).ravel()
            draft.bias = draft.bias + (values if shape[1:] == (1, 1) else values[: shape[0]])
        draft.inputs.append((ConnectionCard.model_validate(card), tensors))

    def _answer(self, end: str) -> str:
        """The layer that the output reads."""
        if len(self.before[end]) != 1:
            raise ModelError(f"node {end}: reads {len(self.before[end])} nodes; one is understood")
        source, _ = self._source(self.before[end][0], False, set())
        if source == INPUT:
            raise ModelError(f"node {end}: reads the input itself")
        return source

    def _finish(self, draft: _Draft, tensors: Tensors) -> LayerCard:
        """The card of a layer; its tensors join the others."""
        if np.any(draft.bias != 0):
            _add_bias(draft)
        for i, (_, own) in enumerate(draft.inputs):
            tensors |= {f"{draft.name}/{i}/{key}": value for key, value in own.items()}
        tensors |= {f"{draft.name}/{key}": value for key, value in draft.tensors.items()}
        return LayerCard(
            name=draft.name,
            shape=draft.shape,
            inputs=tuple(card for card, _ in draft.inputs),
            neuron=draft.neuron,
        )


def _add_bias(draft: _Draft) -> None:
    """A bias is a part of what arrives in every step."""
    if draft.neuron.model == "cuba":
        draft.tensors["bias"] = np.asarray(draft.bias, np.float32)
        return
    gain = _per_channel(draft.tensors.get("gain", np.ones((), np.float32)), draft)
    constant = _per_channel(draft.tensors.get("constant", np.zeros((), np.float32)), draft)
    bias = np.asarray(draft.bias, np.float32)
    if gain.ndim == 1 and gain.size != draft.shape[0]:
        bias = np.repeat(bias, draft.shape[1] * draft.shape[2])
    if constant.ndim == 1 and constant.size != bias.size:
        bias = np.broadcast_to(np.repeat(bias, constant.size // bias.size), constant.shape)
    draft.tensors["constant"] = (gain * bias + constant).astype(np.float32)


def _per_channel(values: Any, draft: _Draft) -> Any:
    array = np.asarray(values, np.float32)
    return array.reshape(()) if array.size == 1 else array.ravel()


def _check_file(path: Path) -> None:
    """Refuse what is no plain HDF5 of numbers and text, before anything in it is decoded."""
    total = 0

    # What a visitor returns ends the visit; an exception in one would not come through.
    def visit(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else f"{name[:80]} is a link, and may not be"

    def weigh(name: str, item: Any) -> str | None:
        nonlocal total
        if not isinstance(item, h5py.Dataset):
            return None
        text = h5py.check_string_dtype(item.dtype) is not None
        if (item.dtype.kind not in "fiub" and not text) or item.is_virtual or item.external:
            return f"{name[:80]} holds {item.dtype}; numbers and text are allowed"
        total += item.size * item.dtype.itemsize
        return f"more than {_MAX_BYTES} bytes" if total > _MAX_BYTES else None

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path.name}: larger than {_MAX_BYTES} bytes")
        if not heaps_are_sound(path):
            raise ModelError(f"{path.name}: not a NIR file: a heap in it is damaged")
        with h5py.File(path, "r") as file:
            wrong = file.visititems_links(visit) or file.visititems(weigh)
    except (OSError, RuntimeError, KeyError, ValueError) as problem:
        if isinstance(problem, ModelError):
            raise
        raise ModelError(f"{path.name}: not a NIR file, which is HDF5") from problem
    if wrong:
        raise ModelError(f"{path.name}: {wrong}")


def _plain(name: str) -> str:
    """A node's name as a layer's: slashes part tensors' names."""
    return "in" if name == INPUT else name.replace("/", "_")


def _side(shape: Any) -> Side:
    """A shape as (channels, height, width)."""
    sides = [int(side) for side in np.atleast_1d(shape)]
    while len(sides) > 3 and sides[0] == 1:
        sides = sides[1:]  # a batch of one
    if not 1 <= len(sides) <= 3 or min(sides) < 1:
        raise ModelError(
            f"input shape {tuple(sides)}: understood are (n,), (channels, length) and (channels, y, x)"
        )
    if len(sides) == 2:
        return sides[0], 1, sides[1]
    return (sides[0], sides[1], sides[2]) if len(sides) == 3 else (sides[0], 1, 1)


def _spread(values: Any, flow: _Flow, what: str) -> Any:
    """Parameters as a number, [channel] or [neuron] in the order (channel, y, x).

    Several dimensions are broadcast to (channel, y, x) as numpy does; one alone is [neuron] or [channel], and refused
    where numpy would take it for [x].
    """
    array = np.asarray(values, np.float32)
    channels, height, width = flow.shape
    size = channels * height * width
    while array.ndim > 1 and array.shape[0] == 1 and (array.ndim > 3 or array.size == size):
        array = array[0]
    if array.size == 1:
        return array.reshape(())
    if array.size == size:
        flat = array.ravel()
        return flat[:1].reshape(()) if (flat == flat[0]).all() else flat
    if array.ndim == 1:
        if array.size != channels:
            raise ModelError(f"{what}: {array.size} values for {size} neurons")
        if width == channels and size > channels:
            raise ModelError(
                f"{what}: {array.size} values could be one a channel or one a column: give them the shape "
                f"({channels}, 1, 1) or (1, 1, {width})"
            )
        return array
    if array.ndim == 2 and height == 1:
        array = array[:, None, :]  # (channel, length)
    try:
        spread = np.broadcast_to(array, flow.shape)
    except ValueError as problem:
        raise ModelError(
            f"{what}: values of shape {np.shape(values)} for neurons of {flow.shape}"
        ) from problem
    if (spread == spread[:, :1, :1]).all():
        return np.ascontiguousarray(spread[:, 0, 0])
    return np.ascontiguousarray(spread).ravel()


def _pair(values: Any, one_d: bool = False, first: int = 1) -> Pair:
    flat = [int(one) for one in np.atleast_1d(values).ravel()]
    if one_d:
        return first, flat[-1]
    return (flat[0], flat[0]) if len(flat) == 1 else (flat[0], flat[1])


def _padding(padding: Any, size: Pair, dilation: Pair, one_d: bool) -> Pair:
    if isinstance(padding, bytes):
        padding = padding.decode()
    if isinstance(padding, str):
        if padding not in {"same", "valid"}:
            raise ModelError(f"padding {padding!r}: allowed are numbers, same and valid")
        if padding == "valid":
            return 0, 0
        spread = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
        if any(one % 2 for one in spread):
            raise ModelError("padding same of an even window has a longer side, and is not understood")
        return spread[0] // 2, spread[1] // 2
    return _pair(padding, one_d, 0)
