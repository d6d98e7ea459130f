"""What spiking and Delta networks do and cost: ``python -m tests.benchmarks.networks [PART ...] [--write]``.

One thread, everything of a part in one run; the tables go into docs/networks.md. Parts that train take minutes.
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from kernels._lanes import padded
from kernels.networks import delta, neurons, synapses
from kernels.networks.synapses import Shape
from pipeline.models import cost, registry
from pipeline.models.bundle import MotifLabel
from pipeline.models.delta import DeltaCard, DeltaLayerCard, DeltaNetwork, DeltaRun
from pipeline.models.inputs import encoded, windowed
from pipeline.models.spiking import Run, dense, sparse
from pipeline.training.classifiers import fitting, quantisation, trainer
from pipeline.training.classifiers.trainer import PRESETS, ClassifierTraining
from pipeline.training.rendering import microsaccades
from tests.benchmarks.pages import write

DATA = Path(__file__).parents[3] / "shared" / "data"
ROUNDS = 7


def seconds_of(run):
    """The best of some rounds."""
    best = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best.append(time.perf_counter() - start)
    return min(best)


def activity():
    """Cost follows the spikes: a 34x34x2-conv16-conv32-fc10 network without biases, by input activity."""
    rng = np.random.default_rng(0)
    sizes = [Shape(34, 34, 2), Shape(34, 34, 16), Shape(34, 34, 32), Shape(1, 1, 10)]
    weights = [rng.normal(0.02, 1, (16, 2, 3, 3)) * 0.5, rng.normal(0.02, 1, (32, 16, 3, 3)) * 0.16,
               rng.normal(0, 1, (10, 34 * 34 * 32)) * 0.02]  # fmt: skip
    layers = []
    for k in range(3):
        weight = weights[k].astype(np.float32)
        made = (
            synapses.dense(weight, sizes[k]) if k == 2 else synapses.convolution(weight, sizes[k], pad=(1, 1))
        )
        laid = synapses.synapses([made], sizes[k + 1])
        layers.append(
            neurons.Layer(
                laid, neurons.neurons("lif", sizes[k + 1].channels, reset="subtract", decay=0.8, reset_to=1.0)
            )
        )
    lines = [
        "| input active | spikes a step | additions a step | µs a step, where something happens | every neuron |",
        "|---|---|---|---|---|",
    ]
    for rate in (0.0005, 0.002, 0.005, 0.02, 0.05):
        arriving = sparse((rng.random((300, sizes[0].size)) < rate).astype(np.float32))
        found = []
        for lazy in (True, False):

            def run(lazy=lazy, arriving=arriving):
                states, spikes = [neurons.new_state(layer) for layer in layers], arriving
                for layer, state in zip(layers, states, strict=True):
                    spikes = neurons.advance(layer, state, spikes, lazy)
                return states

            found.append(seconds_of(run) / 300 * 1e6)
        counts = sum(state.counts for state in run()) / 300
        lines.append(
            f"| {rate:.2%} | {counts[neurons.SPIKES]:.0f} | {counts[neurons.ADDITIONS]:,.0f} | {found[0]:.1f} | {found[1]:.1f} |"
        )
    return lines


def sweep():
    """A convolution of changes beside torch's dense one, by the share of the operations that is skipped."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    lines = [
        "| layer | operations skipped | changes added, ms | and quantised, compared, sent | torch dense, ms | ratio | with all |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, channels in ((64, 32), (64, 64), (32, 128)):
        grid = Shape(side, side, channels)
        weight = rng.integers(-127, 128, (channels, channels, 3, 3)).astype(np.float32)
        lanes = padded(channels)
        layer = delta.Layer(
            synapses.synapses([synapses.convolution(weight, grid, pad=(1, 1))], grid), np.zeros(lanes, np.float32),
            np.full(lanes, 2e-5, np.float32), 0.0, 63.0,
        )  # fmt: skip
        kernel = torch.from_numpy(weight)
        for skipped in (0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 0.999):
            before = rng.integers(0, 64, grid.size).astype(np.float32)
            moved = rng.random(grid.size) < 1 - skipped
            after = np.where(moved, (before + rng.integers(1, 64, grid.size)) % 64, before).astype(np.float32)
            state = delta.new_state(layer)
            delta.advance(layer, state, delta.changes(before, np.zeros_like(before)))
            there, back = delta.changes(after, before), delta.changes(before, after)
            image = torch.from_numpy(
                np.ascontiguousarray(after.reshape(1, side, side, channels).transpose(0, 3, 1, 2))
            )

            def added(layer=layer, state=state, there=there, back=back):
                delta.accumulate(layer, state, there)
                delta.accumulate(layer, state, back)

            def whole(layer=layer, state=state, there=there, back=back):
                delta.advance(layer, state, there)
                delta.advance(layer, state, back)

            ours = seconds_of(added) / 2, seconds_of(whole) / 2
            with torch.no_grad():
                theirs = seconds_of(
                    lambda image=image, kernel=kernel: torch.nn.functional.conv2d(image, kernel, padding=1)
                )
            lines.append(
                f"| {side}x{side}, {channels} to {channels} | {skipped:.1%} | {ours[0] * 1e3:.3f} | {ours[1] * 1e3:.3f} | "
                f"{theirs * 1e3:.3f} | {theirs / ours[0]:.1f} | {theirs / ours[1]:.1f} |"
            )
    return lines


def exact():
    """Whole numbers: 10,000 steps of changes, and the whole network evaluated anew at each hundredth."""
    rng = np.random.default_rng(0)
    card, tensors = small_network(rng, (2, 32, 32))
    network = DeltaNetwork.of(card.model_dump(), tensors, "")
    run, levels, compared = DeltaRun(network), np.zeros(2 * 32 * 32, np.float32), 0
    for step in range(10_000):
        moved = rng.random(levels.size) < 0.02
        levels = np.where(moved, rng.integers(0, 64, levels.size), levels).astype(np.float32)
        answers = run.step(levels)
        if step % 100 == 99:
            compared += 1
            if not np.array_equal(DeltaRun(network).step(levels), answers):
                return [f"differs at step {step}"]
    spent = cost.of_delta_run(network, run)
    return [
        f"{compared} of {compared} comparisons over 10,000 steps are equal bit for bit; {spent['operation_sparsity']:.1%} of the "
        "operations were skipped."
    ]


def small_network(rng, side):
    """Convolutions, a pool and a dense layer of random weights."""
    channels, height, width = side
    layers = (
        DeltaLayerCard(name="a", op="conv2d", shape=(16, height, width), pad=(1, 1), relu=True, step=0.1, top=63),
        DeltaLayerCard(name="b", op="max_pool", shape=(16, height // 2, width // 2), size=(2, 2), stride=(2, 2)),
        DeltaLayerCard(name="c", op="conv2d", shape=(32, height // 2, width // 2), pad=(1, 1), relu=True, step=0.1, top=63),
        DeltaLayerCard(name="d", op="average_pool", shape=(32, height // 8, width // 8), size=(4, 4), stride=(4, 4), step=0.05, top=63),
        DeltaLayerCard(name="e", op="dense", shape=(10, 1, 1)),
    )  # fmt: skip
    fans = {"a": 9 * channels, "c": 9 * 16, "e": 32 * (height // 8) * (width // 8)}
    shapes = {"a": (16, channels, 3, 3), "c": (32, 16, 3, 3), "e": (10, fans["e"])}
    tensors = {
        f"{k}/weight": (rng.normal(size=shapes[k]) * np.sqrt(2 / fans[k])).astype(np.float32) for k in fans
    }
    labels = tuple(MotifLabel(name=str(i)) for i in range(10))
    return DeltaCard(
        name="small", version="1", labels=labels, input=side, input_step=1 / 16, input_top=63, layers=layers
    ), tensors


def variants():
    """N-MNIST: one split, four ways to compute it."""
    archive = DATA / "labelled" / "nmnist_train1k.npz"
    base = {**PRESETS["nmnist"], "folds": 0, "tune": (), "recordings": str(archive), "epochs": 40}
    wide = [{"channels": 48, "size": 5, "stride": 2}, {"channels": 96, "size": 3, "stride": 2}]
    ways = {
        "spiking, 8 steps (SLTT)": {},
        "spiking, 8 steps, wide (SLTT)": {"layers": wide},
        "spiking, 8 steps, wide (TESS)": {"layers": wide, "method": "tess"},
        "spiking, one step": {"step_us": 320_000, "steps": 1, "most": 4},
        "Delta, 8 steps": {"neuron": {"kind": "relu"}, "most": 8},
    }
    lines = [
        "| network | right | early: right | of the recording | operations a recording | energy, µJ | ms a recording |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, change in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            config = ClassifierTraining.model_validate({**base, **change})
            card = trainer.train(config, Path(folder), lambda share, text: None)
            model = registry.read(Path(folder))
        lines.append(
            f"| {name} | {card.accuracy['class']:.1%} | {_early(card)} | {_spent(model, config, archive)} |"
        )
    return lines


def _early(card):
    told = getattr(card, "confidence", {})
    return f"{told['accuracy_early']:.1%} | {told['share_of_steps']:.0%}" if told else " | "


def _spent(model, config, archive):
    data = trainer.Data(archive)
    some = [data.recordings[i] for i in range(0, len(data.recordings), 50)]
    spikes = [encoded(one.events, model.card.encoding) for one in some]
    if isinstance(model, DeltaNetwork):
        counts = [
            windowed(
                dense(one, int(np.prod(model.card.input))),
                config.window_steps,
                model.card.input_top,
            )
            for one in spikes
        ]
        run = DeltaRun(model)

        def go():
            for one in counts:
                run.forget()
                for row in one:
                    run.step(row)

        go()
        spent = cost.of_delta_run(model, run)
    else:
        run = Run(model)

        def go():
            for one in spikes:
                run.forget()
                run.advance(one)

        go()
        spent = cost.of_run(model, run)
    operations, energy = spent["synops"] / len(some), spent["energy_uj"] / len(some)
    return f"{operations:,.0f} | {energy:.2f} | {seconds_of(go) / len(some) * 1e3:.2f}"


def video():
    """Frames of a real video through a network of edge detectors: what changes, beside what is not zero."""
    path = DATA / "video" / "bikes.mp4"
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(
            cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (160, 68), interpolation=cv2.INTER_AREA)
        )
    levels = [np.ascontiguousarray(frame.astype(np.float32)).reshape(-1) for frame in frames]
    card, tensors = edges_network(68, 160)
    lines = [
        "| allowed to change | activations that are not 0 | activations that change | ratio | operations skipped |",
        "|---|---|---|---|---|",
    ]
    for loss in (0.0, 0.02, 0.05):
        chosen = quantisation.calibrate(card, tensors, levels[::3], loss, lambda share, text: None)
        network = DeltaNetwork.of(chosen.model_dump(), tensors, "")
        run, active, changed, total = DeltaRun(network), 0, 0, 0
        for frame in levels:
            run.step(frame)
            for state, layer in zip(run.states[:-1], network.layers[:-1], strict=True):
                active += int(np.count_nonzero(state.sent))
                total += layer.size if isinstance(layer, delta.Layer) else layer.target.size
        changed = sum(int(state.counts[delta.SENT]) for state in run.states[:-1])
        spent = cost.of_delta_run(network, run)
        lines.append(
            f"| {loss:.0%} | {active / total:.1%} | {changed / total:.1%} | {active / changed:.1f} | {spent['operation_sparsity']:.1%} |"
        )
    return lines


def edges_network(height, width):
    """Oriented edges, their combinations, pooled, and where in the picture they are strongest: eight regions."""
    rng = np.random.default_rng(0)
    angle = np.arange(8) * np.pi / 8
    y, x = np.mgrid[-2:3, -2:3].astype(np.float64)
    gabors = [np.sin(1.3 * (x * np.cos(a) + y * np.sin(a))) * np.exp(-(x * x + y * y) / 4) for a in angle]
    first = np.array(gabors)[:, None] / 3
    first = np.concatenate([first, -first])
    layers = (
        DeltaLayerCard(name="edges", op="conv2d", shape=(16, height, width), pad=(2, 2), relu=True),
        DeltaLayerCard(name="pooled", op="max_pool", shape=(16, height // 2, width // 2), size=(2, 2), stride=(2, 2)),
        DeltaLayerCard(name="corners", op="conv2d", shape=(32, height // 2, width // 2), pad=(1, 1), relu=True),
        DeltaLayerCard(name="regions", op="average_pool", shape=(32, 2, 4), size=(17, 20), stride=(17, 20)),
        DeltaLayerCard(name="where", op="dense", shape=(8, 1, 1)),
    )  # fmt: skip
    where = np.zeros((8, 32, 8))
    for region in range(8):
        where[region, :, region] = rng.uniform(0.5, 1.5, 32)
    tensors = {
        "edges/weight": first, "corners/weight": rng.normal(0, 1, (32, 16, 3, 3)) * np.sqrt(2 / 144),
        "where/weight": where.reshape(8, -1),
    }  # fmt: skip
    card = DeltaCard(
        name="edges", version="1", labels=tuple(MotifLabel(name=f"region {i}") for i in range(8)),
        input=(1, height, width), input_step=1 / 255, layers=layers,
    )  # fmt: skip
    return card, {name: value.astype(np.float32) for name, value in tensors.items()}


def zoo():
    """What the cards of the zoo say."""
    lines = [
        "| model | right | early: right | of the steps | calibration error | parameters | on what |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in registry.zoo():
        card = registry.load(name).card
        if card.kind != "spiking_network":
            continue
        told, costs = card.confidence, cost.of_network(registry.load_network(name))
        lines.append(
            f"| `{name}` | {card.accuracy['class']:.1%} | {told['accuracy_early']:.1%} | {told['share_of_steps']:.0%} | "
            f"{told['calibration_error']:.3f} | {costs['parameters']:,} | {card.accuracy['what']} |"
        )
    return lines


def saccades():
    """Amplitudes told by the zoo's network and by count and duration, on eyes that neither has seen."""
    plan = microsaccades.EyePlan()
    known, _ = microsaccades.recordings(60, 4, plan, seed=98, threads=2)
    new, _ = microsaccades.recordings(30, 4, plan, seed=99, threads=2)
    labels = [f"{amplitude:g}" for amplitude in microsaccades.AMPLITUDES_DEG]
    truth = [np.array([labels.index(one.name) for one in some]) for some in (known, new)]
    features = [
        np.array(
            [(np.log(len(one.events[0])), (one.events[0][-1] - one.events[0][0]) * 1e-4) for one in some]
        )
        for some in (known, new)
    ]
    scaled = [(one - features[0].mean(axis=0)) / features[0].std(axis=0) for one in features]
    distance = ((scaled[1][:, None] - scaled[0][None]) ** 2).sum(axis=2)
    nearest = truth[0][np.argsort(distance, axis=1)[:, :25]]
    votes = np.array([np.bincount(one, minlength=7).argmax() for one in nearest])
    with ThreadPoolExecutor(2) as pool:
        sums = fitting.outputs(registry.load_network("microsaccade"), new, pool)
    answers = sums[:, -1].argmax(axis=1)
    lines = ["| | right | one class off at most |", "|---|---|---|"]
    named = {"`microsaccade`": answers, "25 nearest neighbours by number of events and duration": votes}
    for name, found in named.items():
        off = abs(found - truth[1])
        lines.append(f"| {name} | {(off == 0).mean():.1%} | {(off <= 1).mean():.1%} |")
    return lines


PARTS = {
    "zoo": zoo,
    "microsaccades": saccades,
    "activity": activity,
    "sweep": sweep,
    "exact": exact,
    "video": video,
    "variants": variants,
}


if __name__ == "__main__":
    for part in [one for one in sys.argv[1:] if one in PARTS] or list(PARTS):
        made = PARTS[part]()
        print(f"## {part}\n", *made, sep="\n", flush=True)
        if "--write" in sys.argv:
            write("networks.md", part, made)
