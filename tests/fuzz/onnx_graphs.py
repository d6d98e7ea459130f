"""Random ONNX graphs beside onnxruntime: ``python -m tests.fuzz.onnx_graphs [--graphs N] [--seed N]``.

Chains of every operator that is read, with constants of every shape that broadcasts, at sizes where dimensions coincide.
A graph that is taken must compute what onnxruntime computes: its floats to 1e-4, and the Delta network itself within the
steps that its outputs are rounded to; all others must be refused by name.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F = np.float32
SIDES = (1, 2, 3, 4, 4, 4, 8)


class Drawn:
    """A graph under construction, with the shape that its tensor has."""

    def __init__(self, rng):
        self.rng, self.numbers = rng, np.random.default_rng(rng.getrandbits(32))
        self.nodes, self.arrays, self.at = [], {}, "x"
        flat = rng.random() < 0.2
        self.shape = (rng.choice((3, 4, 8, 12)),) if flat else tuple(rng.choice(SIDES) for _ in range(3))
        self.input = self.shape
        for _ in range(rng.randint(1, 6)):
            getattr(self, f"_{rng.choice(self._possible())}")()
        if rng.random() < 0.85:
            self._end()
        if rng.random() < 0.15:
            self._node("Softmax", **({"axis": rng.choice((1, -1))} if rng.random() < 0.5 else {}))

    def _possible(self):
        if len(self.shape) == 1:
            return ["gemm", "matmul", "add", "relu", "identity", "norm", "reshape"]
        return [
            "conv", "conv", "conv", "add", "add", "norm", "relu", "relu", "max_pool", "average_pool", "global_pool",
            "flatten", "reshape", "identity", "dropout", "matmul",
        ]  # fmt: skip

    def _node(self, kind, *arrays, **attributes):
        names = []
        for array in arrays:
            names.append(f"c{len(self.arrays)}")
            self.arrays[names[-1]] = np.asarray(array)
        inputs = [self.at, *names]
        if kind == "Add" and self.rng.random() < 0.5:
            inputs.reverse()
        self.at = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [self.at], **attributes))

    def _random(self, *shape, scale=0.5):
        return self.numbers.normal(0, scale, shape).astype(F)

    def _conv(self):
        channels, height, width = self.shape
        kernel = self.rng.choice((1, 1, 3, 2)), self.rng.choice((1, 3, 3, 2))
        pad = self.rng.choice((0, 1)), self.rng.choice((0, 1))
        stride = self.rng.choice((1, 1, 2)), self.rng.choice((1, 1, 2))
        dilation = self.rng.choice((1, 1, 2)), 1
        sides = [(s + 2 * p - d * (k - 1) - 1) // t + 1
                 for s, p, d, k, t in zip((height, width), pad, dilation, kernel, stride, strict=True)]  # fmt: skip
        if min(sides) < 1:
            return
        groups = self.rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
        out = groups * self.rng.choice((1, 2, 4))
        weight = self._random(out, channels // groups, *kernel)
        bias = [self._random(out)] if self.rng.random() < 0.5 else []
        self._node(
            "Conv", weight, *bias, kernel_shape=kernel, pads=[*pad, *pad], strides=stride, dilations=dilation, group=groups
        )  # fmt: skip
        self.shape = (out, *sides)

    def _gemm(self):
        out, transposed = self.rng.choice((3, 4, 8, self.shape[0])), self.rng.random() < 0.5
        weight = self._random(out, self.shape[0]) if transposed else self._random(self.shape[0], out)
        bias = self.rng.choice(
            ([], [self._random(out)], [self._random(1, out)], [self._random(1)], [self._random(1, 1)])
        )
        self._node("Gemm", weight, *bias, transB=int(transposed), alpha=self.rng.choice((1.0, 0.5)),
                   beta=self.rng.choice((1.0, 2.0)))  # fmt: skip
        self.shape = (out,)

    def _matmul(self):
        out = self.rng.choice((3, 4, 8))
        self._node("MatMul", self._random(self.shape[-1], out))
        self.shape = (*self.shape[:-1], out)

    def _add(self):
        full = (1, *self.shape)
        shape = [side if self.rng.random() < 0.4 else 1 for side in full]
        shape = shape[self.rng.randint(0, len(shape) - 1) :] if self.rng.random() < 0.6 else shape
        if self.rng.random() < 0.4:
            shape = [self.shape[0], *(1,) * (len(self.shape) - 1)]
        self._node("Add", self._random(*shape))

    def _norm(self):
        n = self.shape[0]
        self._node(
            "BatchNormalization", self.numbers.uniform(0.5, 1.5, n).astype(F), self._random(n, scale=0.2),
            self._random(n, scale=0.2), self.numbers.uniform(0.5, 1.5, n).astype(F), epsilon=self.rng.choice((1e-5, 1e-2)),
        )  # fmt: skip

    def _relu(self):
        self._node("Relu")

    def _pool(self, kind, **more):
        _, height, width = self.shape
        size = self.rng.choice((1, 2, 3)), self.rng.choice((1, 2, 3))
        stride = self.rng.choice((1, 2)), self.rng.choice((1, 2))
        pad = (1, 1) if min(size) > 1 and self.rng.random() < 0.4 else (0, 0)
        sides = [
            (s + 2 * p - k) // t + 1 for s, p, k, t in zip((height, width), pad, size, stride, strict=True)
        ]
        if min(sides) < 1:
            return
        self._node(kind, kernel_shape=size, strides=stride, pads=[*pad, *pad], **more)
        self.shape = (self.shape[0], *sides)

    def _max_pool(self):
        self._pool("MaxPool")

    def _average_pool(self):
        self._pool("AveragePool", count_include_pad=self.rng.choice((0, 1)))

    def _global_pool(self):
        self._node("GlobalAveragePool")
        self.shape = (self.shape[0], 1, 1)

    def _flatten(self):
        axis = self.rng.choice((1, 1, 1, 2))
        self._node("Flatten", axis=axis)
        if axis == 1:
            self.shape = (int(np.prod(self.shape)),)
        else:
            self.batch_spoilt = True
            self.shape = (int(np.prod(self.shape[1:])),)

    def _reshape(self):
        n = int(np.prod(self.shape))
        self._node("Reshape", np.array(self.rng.choice(([1, n], [1, -1], [-1, n], [0, -1])), np.int64))
        self.shape = (n,)

    def _identity(self):
        self._node("Identity")

    def _dropout(self):
        self._node("Dropout")

    def _end(self):
        if len(self.shape) > 1 and self.rng.random() < 0.7:
            self._node("Flatten")
            self.shape = (int(np.prod(self.shape)),)
        (self._gemm if len(self.shape) == 1 else self._conv)()

    def save(self, path):
        graph = helper.make_graph(
            self.nodes or [helper.make_node("Identity", ["x"], ["y0"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *self.input])],
            [helper.make_tensor_value_info(self.at if self.nodes else "y0", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self.arrays.items()],
        )  # fmt: skip
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path)
        )


def floats(card, tensors, x):
    """What the imported layers compute, in float64, and the largest value of each layer's outputs."""
    largest = []
    for layer in card.layers:
        if layer.op == "dense":
            x = (
                tensors[f"{layer.name}/weight"].astype(float) @ x.reshape(-1) + tensors[f"{layer.name}/bias"]
            ).reshape(layer.shape)
        elif layer.op == "conv2d":
            x = (
                _convolved(x, tensors[f"{layer.name}/weight"], layer)
                + tensors[f"{layer.name}/bias"][:, None, None]
            )
        else:
            x = _pooled(x, layer)
        x = np.maximum(x, 0) if layer.relu else x
        largest.append(float(np.abs(x).max()))
    return x, largest


def _padded(x, layer, fill):
    (py, px) = layer.pad
    return np.pad(x, ((0, 0), (py, py), (px, px)), constant_values=fill)


def _convolved(x, weight, layer):
    x = _padded(x, layer, 0.0)
    out_channels, inner, ky, kx = weight.shape
    made = np.zeros(layer.shape)
    per = out_channels // layer.groups
    for o in range(out_channels):
        first = o // per * inner
        for c in range(inner):
            for j in range(ky):
                for i in range(kx):
                    y0, x0 = j * layer.dilation[0], i * layer.dilation[1]
                    part = x[first + c, y0 :: layer.stride[0], x0 :: layer.stride[1]]
                    made[o] += weight[o, c, j, i].astype(float) * part[: layer.shape[1], : layer.shape[2]]
    return made


def _pooled(x, layer):
    x = _padded(x, layer, 0.0 if layer.op == "average_pool" else -np.inf)
    made = np.zeros(layer.shape)
    for y in range(layer.shape[1]):
        for col in range(layer.shape[2]):
            part = x[:, y * layer.stride[0] : y * layer.stride[0] + layer.size[0],
                     col * layer.stride[1] : col * layer.stride[1] + layer.size[1]]  # fmt: skip
            made[:, y, col] = (
                part.sum((1, 2)) / np.prod(layer.size) if layer.op == "average_pool" else part.max((1, 2))
            )
    return made


def outcome(drawn, folder):
    """``equal``, ``refused``, ``no graph`` where onnxruntime does not take it, or what is wrong."""
    import onnxruntime

    from pipeline.models.bundle import ModelError
    from pipeline.models.delta import DeltaNetwork, DeltaRun
    from pipeline.models.onnx_graph import read

    path = Path(folder) / "net.onnx"
    drawn.save(path)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        x = drawn.numbers.integers(-8, 9, (1, *drawn.input)).astype(F) / 8
        truth = session.run(None, {"x": x})[0]
    except Exception:
        truth = None
    try:
        card, tensors = read(path, "net")
    except ModelError as problem:
        return "refused" if "\n" not in str(problem) else "refused in more than one line"
    if truth is None:
        return "wrong: taken, though onnxruntime does not"
    sides = card.input
    found, largest = floats(card, tensors, x.reshape(sides).astype(float))
    last = drawn.nodes[-1].op_type if drawn.nodes else ""
    if last == "Softmax":
        found = np.exp(found - found.max()) / np.exp(found - found.max()).sum()
    if found.size != truth.size or not np.allclose(found.ravel(), truth.ravel(), atol=1e-4, rtol=1e-4):
        return f"wrong: {[node.op_type for node in drawn.nodes]} of {drawn.input}"
    layers = tuple(
        layer.model_copy(update={"step": max(most, 1e-3) / 1000, "top": 1030})
        for layer, most in zip(card.layers, largest, strict=True)
    )
    fine = card.model_copy(
        update={"layers": layers, "input_step": 1 / 8, "input_top": 8, "weight_top": 32767}
    )
    run = DeltaRun(DeltaNetwork.of(fine.model_dump(), tensors, ""))
    answer = run.step((x.reshape(sides).transpose(1, 2, 0).ravel() * 8).astype(F))
    expected = floats(card, tensors, x.reshape(sides).astype(float))[0].transpose(1, 2, 0).ravel()
    if np.abs(answer - expected).max() > 0.02 * max(np.abs(expected).max(), 0.1) + 0.02:
        return f"wrong in whole numbers: {[node.op_type for node in drawn.nodes]} of {drawn.input}"
    return "equal"


def run(graphs, seed=0, tell=print):
    """(counts of outcomes, what went wrong with the numbers of the graphs)."""
    counts, wrong, started = Counter(), [], time.monotonic()
    operators = Counter()
    with TemporaryDirectory() as folder:
        for number in range(graphs):
            drawn = Drawn(random.Random(f"graph{seed}-{number}"))
            said = outcome(drawn, folder)
            counts[said.split(":")[0]] += 1
            if said == "equal":
                operators.update(node.op_type for node in drawn.nodes)
            elif said != "refused":
                wrong.append((number, said))
    tell(
        f"{graphs:,} graphs in {time.monotonic() - started:.0f} s: {dict(counts)}; operators in equal ones: {dict(operators)}"
    )
    for number, said in wrong[:20]:
        tell(f"  FAULT graph {number}: {said}")
    return counts, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.exit(bool(run(asked.graphs, asked.seed, lambda line: print(line, flush=True))[1]))


if __name__ == "__main__":
    main()
