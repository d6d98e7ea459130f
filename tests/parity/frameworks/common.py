"""What every framework's script shares; it runs in that framework's own environment, beside torch and numpy only."""

import json
import sys
import time
from pathlib import Path

import nir
import numpy as np
import torch


def _leave_open():
    """The exporters write scalars where nir's check wants shapes."""
    check = nir.NIRGraph.infer_types

    def lenient(self, *more):
        try:
            check(self, *more)
        except (ValueError, AttributeError) as problem:
            print("not checked:", str(problem)[:80])

    nir.NIRGraph.infer_types = lenient


_leave_open()

STEPS = 300


def arriving(shape, seed, rate=0.02):
    """[step, 1, ...] of 0 and 1."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.random((STEPS, 1, *shape)) < rate).astype(np.float32))


def weights(module, seed, gain):
    """Reproducible weights, positive on the whole, so that spikes get through; small biases."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            if parameter.ndim < 2 or not parameter.requires_grad:
                continue
            fan = int(np.prod(parameter.shape[1:]))
            values = rng.normal(0.25, 1.0, tuple(parameter.shape)) * gain / np.sqrt(fan)
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))
        for name, parameter in sorted(module.named_parameters()):
            if name.endswith("bias"):
                values = rng.normal(0, 0.02, tuple(parameter.shape)).astype(np.float32)
                parameter.copy_(torch.from_numpy(values))


def seconds_a_step(run):
    """The best of three runs over all steps, one thread."""
    torch.set_num_threads(1)
    best = []
    with torch.no_grad():
        for _ in range(3):
            start = time.perf_counter()
            run()
            best.append((time.perf_counter() - start) / STEPS)
    return min(best)


class Trace:
    """Spikes and potentials of every layer, step by step."""

    def __init__(self, layers):
        self.rows = {f"{layer}/{what}": [] for layer in layers for what in ("spikes", "v")}

    def add(self, layer, spikes, v):
        for what, values in (("spikes", spikes), ("v", v)):
            self.rows[f"{layer}/{what}"].append(values.detach().numpy().astype(np.float32).ravel().copy())


def write(path, graph):
    """Without what is left open, and uncompressed: some numbers are 0-d, which the format cannot compress."""

    def closed(node):
        kept = {key: value for key, value in node.items() if value is not None}
        return {key: closed(value) if isinstance(value, dict) else value for key, value in kept.items()}

    document = closed(graph.to_dict())
    graph.to_dict = lambda: document
    nir.write(path, graph, compression=None)


def leaves(net):
    """The layers of a network whose sequences may be nested."""
    found = []
    for layer in net.children():
        found += leaves(layer) if type(layer).__name__ in {"Sequential", "SequentialState"} else [layer]
    return found


def out_dir():
    return Path(sys.argv[1])


def save(folder, name, source, given, trace, seconds, reading):
    """The network's traces, beside its .nir file."""
    arrays = {key: np.stack(rows) for key, rows in trace.rows.items()}
    about = {
        "name": name,
        "source": source,
        "seconds_a_step": seconds,
        "reading": reading,
        "torch": torch.__version__,
    }
    np.savez_compressed(
        folder / f"{name}.npz",
        input=given.numpy().reshape(STEPS, -1),
        about=np.array(json.dumps(about)),
        **arrays,
    )
    print(
        name,
        f"{seconds * 1e3:.3f} ms a step",
        {k: f"{v.mean():.3f}" for k, v in arrays.items() if k.endswith("spikes")},
    )
