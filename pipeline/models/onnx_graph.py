"""Networks of convolutions, dense layers, pooling and ReLU in ONNX files, as Delta networks.

A chain of nodes is understood: Conv, Gemm, MatMul, an Add of one value or one a channel behind them,
BatchNormalization behind one of them (folded in), Relu, MaxPool, AveragePool, GlobalAveragePool, Flatten, Reshape to
[batch, all], Identity, Dropout, and a Softmax over the classes at the end, which changes no answer. Constants
broadcast as the standard says: what would vary from pixel to pixel is refused, and so is all else, by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.models.bundle import ModelError, MotifLabel, Tensors, line_of
from pipeline.models.delta import DeltaCard, DeltaLayerCard
from pipeline.models.spiking import Encoding, Pair, Side
from pipeline.optional_imports import later

onnx = later("onnx", "models from ONNX")
numpy_helper = later("onnx.numpy_helper", "models from ONNX")

OPERATORS = (
    "Conv", "Gemm", "MatMul", "Add", "BatchNormalization", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Flatten", "Reshape", "Identity", "Dropout", "Softmax",
)  # fmt: skip
"""Every operator that is read, beside Constant."""

_MAX_BYTES, _MAX_NODES = 2**28, 4096
_OLDEST_OPSET = 7
"""Before it Add and BatchNormalization mean something else."""


def read(
    path: Path, name: str, step: float = 0.1, encoding: Encoding | None = None, input_step: float = 1.0
) -> tuple[DeltaCard, Tensors]:
    """The network in an ONNX file, as card and tensors.

    Args:
        path: the file.
        name: of the model.
        step: q of every layer, until it is calibrated.
        encoding: how events become its input.
        input_step: q of the input.

    Raises:
        ModelError: it is none, or holds what is not understood; the node is named.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path.name}: larger than {_MAX_BYTES} bytes")
        model = onnx.load(str(path), load_external_data=False)
    except ModelError:
        raise
    except Exception as problem:  # whatever its decoder stumbles over
        raise ModelError(f"{path.name}: not an ONNX file") from problem
    try:
        return _Import(model, step).network(path.name, name, encoding, input_step)
    except ModelError as problem:
        raise ModelError(f"{path.name}: {problem}") from problem
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as problem:
        raise ModelError(f"{path.name}: {line_of(problem)}") from problem


class _Import:
    def __init__(self, model: Any, step: float) -> None:
        self._graph, self._step = model.graph, step
        graph = self._graph
        opset = next((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), 1)
        if opset < _OLDEST_OPSET:
            raise ModelError(f"operator set {opset}; from {_OLDEST_OPSET} on is understood")
        self._softmax_axis = -1 if opset >= 13 else 1
        if len(graph.node) > _MAX_NODES:
            raise ModelError(f"more than {_MAX_NODES} nodes")
        self._constants: dict[str, Any] = {one.name: _array(one) for one in graph.initializer}
        self._layers: list[dict[str, Any]] = []
        self._tensors: Tensors = {}
        self._shape: Side = (1, 1, 1)
        self._rank = 3
        """Axes behind the batch that the tensor has in the file: 3 (channels, y, x), 2, or 1 where it is flat."""

    def network(
        self, file: str, name: str, encoding: Encoding | None, input_step: float
    ) -> tuple[DeltaCard, Tensors]:
        """The card and the tensors."""
        given = [one for one in self._graph.input if one.name not in self._constants]
        if len(given) != 1 or len(self._graph.output) != 1:
            raise ModelError(
                f"{len(given)} inputs and {len(self._graph.output)} outputs; one of each is understood"
            )
        start = self._shape = _input_shape(given[0])
        self._rank = _axes(given[0])
        at, over = given[0].name, False
        for node in self._graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _constant(node)
                continue
            if over:
                raise ModelError(f"{_called(node)}: behind the Softmax; nothing may follow it")
            if at not in node.input:
                raise ModelError(f"{_called(node)}: does not read the node before it; a chain is understood")
            self._take(node, at)
            over, at = node.op_type == "Softmax", node.output[0]
        if at != self._graph.output[0].name:
            raise ModelError("its output is not the last node's")
        if (
            not self._layers
            or self._layers[-1]["op"] not in {"conv2d", "dense"}
            or self._layers[-1].get("relu")
        ):
            raise ModelError("its last layer must be a Conv, Gemm or MatMul without Relu")
        outputs = int(np.prod(self._shape))
        card = DeltaCard(
            name=name, version="1.0.0", labels=tuple(MotifLabel(name=str(i)) for i in range(outputs)), input=start,
            input_step=input_step, input_top=encoding.most if encoding else 255,
            layers=tuple(DeltaLayerCard.model_validate(one) for one in self._layers), encoding=encoding,
            provenance={"imported": file, "format": "ONNX"}, licence="belongs to whoever made the network",
        )  # fmt: skip
        return card, self._tensors

    def _take(self, node: Any, at: str) -> None:
        kind, attributes = node.op_type, _attributes(node)
        if node.domain not in {"", "ai.onnx"} or kind not in OPERATORS:
            raise ModelError(f"{_called(node)} is not understood; allowed are {', '.join(OPERATORS)}")
        if kind == "Conv":
            self._convolution(node, attributes)
        elif kind in {"Gemm", "MatMul"}:
            self._dense(node, attributes, at)
        elif kind == "Add":
            self._bias(node, at)
        elif kind == "BatchNormalization":
            self._normalisation(node, attributes)
        elif kind == "Relu":
            self._relu(node)
        elif kind in {"MaxPool", "AveragePool"}:
            self._pool(node, attributes)
        elif kind == "GlobalAveragePool":
            self._demand_pixels(node)
            self._layer(node, "average_pool", (self._shape[0], 1, 1), size=self._shape[1:], stride=(1, 1))
        elif kind == "Flatten":
            if attributes.get("axis", 1) != 1:
                raise ModelError(f"{_called(node)}: axis {attributes['axis']}; 1 is understood")
            self._rank = 1
        elif kind == "Reshape":
            self._reshape(node, attributes)
        elif kind == "Dropout":
            if len(node.input) > 2 and node.input[2] and bool(np.any(self._constant(node, 2))):
                raise ModelError(f"{_called(node)}: in training mode")
        elif kind == "Softmax":
            axis = attributes.get("axis", self._softmax_axis)
            if self._shape[1:] != (1, 1) or axis not in ({1, -1} if self._rank == 1 else {1}):
                raise ModelError(f"{_called(node)}: over axis {axis}; over the classes alone is understood")

    def _reshape(self, node: Any, attributes: dict[str, Any]) -> None:
        shape = [int(one) for one in self._constant(node, 1).ravel()]
        every = int(np.prod(self._shape))
        batch = {1, -1} if attributes.get("allowzero") else {0, 1, -1}
        if len(shape) != 2 or shape[0] not in batch or shape[1] not in {every, -1} or shape == [-1, -1]:
            raise ModelError(f"{_called(node)}: to {shape}; [batch, all] is understood")
        self._rank = 1

    def _demand_pixels(self, node: Any) -> None:
        if self._rank != 3:
            raise ModelError(f"{_called(node)}: reads what is flat; (channels, y, x) are understood")

    def _convolution(self, node: Any, attributes: dict[str, Any]) -> None:
        weight = self._constant(node, 1)
        self._demand_pixels(node)
        if weight.ndim != 4:
            raise ModelError(f"{_called(node)}: {weight.ndim - 2}-D; 2-D is understood")
        if list(attributes.get("kernel_shape", weight.shape[2:])) != list(weight.shape[2:]):
            raise ModelError(f"{_called(node)}: its kernel_shape is not that of its weights")
        window = _window(node, attributes, (int(weight.shape[2]), int(weight.shape[3])))
        bias = self._constant(node, 2) if len(node.input) > 2 else None
        sides = self._sides(node, window)
        del window["size"]
        self._layer(
            node, "conv2d", (int(weight.shape[0]), *sides), weight=weight, bias=bias,
            groups=int(attributes.get("group", 1)), **window,
        )  # fmt: skip

    def _dense(self, node: Any, attributes: dict[str, Any], at: str) -> None:
        if node.input[0] != at:
            raise ModelError(f"{_called(node)}: its weights are no constant")
        if attributes.get("transA"):
            raise ModelError(f"{_called(node)}: transA is not understood")
        if self._rank != 1:
            raise ModelError(
                f"{_called(node)}: multiplies along the last axis of (channels, y, x); put a Flatten before it"
            )
        weight = self._constant(node, 1) * np.float32(attributes.get("alpha", 1.0))
        if weight.ndim != 2:
            raise ModelError(f"{_called(node)}: weights with {weight.ndim} axes; 2 are understood")
        weight = weight if node.op_type == "Gemm" and attributes.get("transB") else weight.T
        bias = self._constant(node, 2) if len(node.input) > 2 else None
        if bias is not None:
            bias = self._per_channel(node, bias, (int(weight.shape[0]),)) * np.float32(
                attributes.get("beta", 1.0)
            )
        self._layer(
            node, "dense", (int(weight.shape[0]), 1, 1), weight=np.ascontiguousarray(weight), bias=bias
        )

    def _bias(self, node: Any, at: str) -> None:
        last = self._open(node)
        other = next((name for name in node.input if name != at), at)
        if other not in self._constants:
            raise ModelError(f"{_called(node)}: adds two activations, which is not understood")
        shape = self._shape if self._rank == 3 else (int(np.prod(self._shape)),)
        if len(shape) != len(last["shape"]) and last["op"] == "conv2d":
            raise ModelError(
                f"{_called(node)}: adds to what was flattened, pixel by pixel; put it before the Flatten"
            )
        values = self._per_channel(node, self._constants[other], shape)
        self._tensors[f"{last['name']}/bias"] = self._tensors[f"{last['name']}/bias"] + values

    def _per_channel(self, node: Any, constant: Any, shape: tuple[int, ...]) -> Any:
        """One value a channel of a constant that broadcasts onto [batch, *shape].

        Raises:
            ModelError: it would vary from pixel to pixel, or change the shape.
        """
        values = np.asarray(constant, np.float32)
        sides = (1,) * (1 + len(shape) - values.ndim) + values.shape
        fits = len(sides) == 1 + len(shape) and all(
            side in {1, full} for side, full in zip(sides, (1, *shape), strict=True)
        )
        # The channels' axis is the first behind the batch; along all others one value is there.
        if not fits or any(side != 1 for i, side in enumerate(sides) if i != 1):
            said = f"a constant of shape {list(values.shape)} to {list(shape)}"
            raise ModelError(f"{_called(node)}: adds {said}; one value, or one a channel, is understood")
        return np.broadcast_to(values.reshape(-1), shape[:1])

    def _normalisation(self, node: Any, attributes: dict[str, Any]) -> None:
        last = self._open(node)
        if attributes.get("training_mode"):
            raise ModelError(f"{_called(node)}: in training mode")
        if last["op"] == "conv2d" and self._rank == 1:
            raise ModelError(f"{_called(node)}: behind a Flatten, pixel by pixel; put it before the Flatten")
        gain, offset, mean, variance = (self._constant(node, i).astype(np.float64) for i in range(1, 5))
        factor = gain / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        name = last["name"]
        weight, bias = self._tensors[f"{name}/weight"], self._tensors[f"{name}/bias"]
        shaped = factor.reshape((-1,) + (1,) * (weight.ndim - 1))
        self._tensors[f"{name}/weight"] = (weight * shaped).astype(np.float32)
        self._tensors[f"{name}/bias"] = ((bias - mean) * factor + offset).astype(np.float32)

    def _relu(self, node: Any) -> None:
        # The highest of rectified values is the rectified highest: behind a MaxPool it belongs to what is before.
        back = next((one for one in reversed(self._layers) if one["op"] != "max_pool"), None)
        if back is None:
            raise ModelError(f"{_called(node)}: there is no layer before it")
        back["relu"] = True

    def _pool(self, node: Any, attributes: dict[str, Any]) -> None:
        self._demand_pixels(node)
        window = _window(node, attributes, _pair(attributes["kernel_shape"]))
        if attributes.get("ceil_mode") or window["dilation"] != (1, 1):
            raise ModelError(f"{_called(node)}: ceil_mode and dilations are not understood")
        average = node.op_type == "AveragePool"
        if average and window["pad"] != (0, 0) and not attributes.get("count_include_pad"):
            raise ModelError(f"{_called(node)}: padded without count_include_pad")
        sides = self._sides(node, window)
        self._layer(node, "average_pool" if average else "max_pool", (self._shape[0], *sides), **window)

    def _sides(self, node: Any, window: dict[str, Any]) -> Pair:
        sides = [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, k, s, p, d in zip(
                self._shape[1:],
                window["size"],
                window["stride"],
                window["pad"],
                window["dilation"],
                strict=True,
            )
        ]
        if min(sides) < 1:
            raise ModelError(f"{_called(node)}: its window is larger than {self._shape[1]}x{self._shape[2]}")
        return sides[0], sides[1]

    def _layer(
        self, node: Any, op: str, shape: Side, weight: Any = None, bias: Any = None, **more: Any
    ) -> None:
        name = f"layer{len(self._layers) + 1}"
        if weight is not None:
            self._tensors[f"{name}/weight"] = np.ascontiguousarray(weight, np.float32)
            plain = np.zeros(shape[0], np.float32) if bias is None else np.asarray(bias, np.float32)
            self._tensors[f"{name}/bias"] = plain.copy()
        self._layers.append({"name": name, "op": op, "shape": shape, "step": self._step, **more})
        self._shape = shape
        self._rank = 1 if op == "dense" else 3

    def _open(self, node: Any) -> dict[str, Any]:
        """The layer of weights right before a node."""
        last = self._layers[-1] if self._layers else None
        if last is None or last["op"] not in {"conv2d", "dense"} or last.get("relu"):
            raise ModelError(f"{_called(node)}: does not follow a layer of weights")
        return last

    def _constant(self, node: Any, i: int) -> Any:
        name = node.input[i]
        if name not in self._constants:
            raise ModelError(f"{_called(node)}: its input {i} is no constant")
        return self._constants[name]


def _array(tensor: Any) -> Any:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ModelError("weights in other files are not opened")
    array = numpy_helper.to_array(tensor)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _attributes(node: Any) -> dict[str, Any]:
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _window(node: Any, attributes: dict[str, Any], size: Pair) -> dict[str, Any]:
    if attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise ModelError(f"{_called(node)}: auto_pad is not understood")
    pads = [int(one) for one in attributes.get("pads", [0, 0, 0, 0])]
    if len(pads) != 4 or pads[:2] != pads[2:]:
        raise ModelError(f"{_called(node)}: pads {pads}; the same on both sides are understood")
    return {
        "size": size, "pad": (pads[0], pads[1]), "stride": _pair(attributes.get("strides", [1, 1])),
        "dilation": _pair(attributes.get("dilations", [1, 1])),
    }  # fmt: skip


def _pair(values: Any) -> Pair:
    sides = [int(one) for one in values]
    if len(sides) != 2:
        raise ModelError(f"windows of {len(sides)} sides; 2 are understood")
    return sides[0], sides[1]


def _constant(node: Any) -> Any:
    """The value of a Constant, however it is written."""
    held = _attributes(node)
    if "value" in held:
        return _array(held["value"])
    for name, kind in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32),
                       ("value_floats", np.float32)):  # fmt: skip
        if name in held:
            return np.asarray(held[name], kind)
    raise ModelError(f"{_called(node)}: holds {', '.join(held) or 'nothing'}; numbers are understood")


def _input_shape(value: Any) -> Side:
    sides = [one.dim_value for one in value.type.tensor_type.shape.dim][1:]
    if not 1 <= len(sides) <= 3 or min(sides, default=0) < 1:
        raise ModelError(
            f"input of shape {sides}; understood are fixed [batch, channels, y, x] and [batch, n]"
        )
    return (
        (sides[0], sides[1], sides[2])
        if len(sides) == 3
        else (sides[0], 1, sides[1] if len(sides) == 2 else 1)
    )


def _axes(value: Any) -> int:
    """Axes behind the batch."""
    return len(value.type.tensor_type.shape.dim) - 1


def _called(node: Any) -> str:
    return f"node {node.name or node.output[0]}: {node.op_type}"
