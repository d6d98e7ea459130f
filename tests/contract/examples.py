"""What the contract suite runs each kind of stage on: add yours here."""

import numpy as np

from pipeline.models import delta, motif_bank, registry, spiking
from pipeline.models.address_bank import AddressCard
from pipeline.models.bundle import MotifLabel
from pipeline.models.delta import DeltaCard, DeltaLayerCard
from pipeline.models.motif_bank import MotifCard
from pipeline.models.spiking import ConnectionCard, Encoding, LayerCard, NeuronCard, SpikingCard

SENSOR = (40, 32)


def _bank(name, shape, card, **more):
    """A bank of random motifs among the user's models."""
    rng = np.random.default_rng(len(name))
    labels = tuple(MotifLabel(name=f"motif {i}") for i in range(shape[0]))
    weight = rng.integers(-900, 900, shape) * (rng.random(shape) < more.pop("density", 0.5))
    made = card(name=name, version="1", bin_us=1000, scale=1e-3, labels=labels, **more)
    motif_bank.save(registry.own() / name, made, weight, rng.integers(-500, 500, shape[0]))


_ON_SENSOR = {"address": "pixel_polarity", "width": SENSOR[0], "height": SENSOR[1]}
_bank("apart", (5, 2, 6, 3, 5), MotifCard, competition="sigmoid", contrast_flip=True)
_bank("columns", (3, SENSOR[0], 31), AddressCard, address="x", width=SENSOR[0], height=SENSOR[1])
_bank(
    "sparse",
    (9, 2 * SENSOR[0] * SENSOR[1], 31),
    AddressCard,
    competition="sigmoid",
    density=0.01,
    **_ON_SENSOR,
)


def _network(name, **more):
    """A little spiking network of random weights among the user's models: a convolution, and six classes."""
    rng = np.random.default_rng(len(name))
    width, height = SENSOR
    layers = (
        LayerCard(
            name="seen", shape=(5, height // 2, width // 2),
            inputs=(ConnectionCard(source="input", op="conv2d", stride=(2, 2), pad=(1, 1)),),
            neuron=NeuronCard(model="lif", reset="hard"),
        ),
        LayerCard(
            name="out", shape=(6, 1, 1), inputs=(ConnectionCard(source="seen", op="dense"),),
            neuron=NeuronCard(model="lif", reset="subtract", sends_potential=more.pop("potential", True)),
        ),
    )  # fmt: skip
    tensors = {
        "seen/0/weight": rng.normal(0.3, 0.5, (5, 2, 3, 3)).astype(np.float32),
        "seen/decay": np.float32(0.8), "seen/threshold": np.float32(0.4),
        "out/0/weight": rng.normal(0.05, 0.3, (6, 5 * (height // 2) * (width // 2))).astype(np.float32),
        "out/decay": np.float32(1.0), "out/threshold": np.float32(0.5), "out/reset_to": np.float32(0.5),
    }  # fmt: skip
    labels = tuple(MotifLabel(name=f"class {i}") for i in range(6))
    spiking.save(
        registry.own() / name,
        SpikingCard(
            name=name, version="1", labels=labels, input=(2, height, width), layers=layers,
            encoding=Encoding(width=width, height=height, **more), confidence={"temperature": 0.7, "threshold": 0.6},
        ),
        {key: np.asarray(value) for key, value in tensors.items()},
    )  # fmt: skip


_network("timed", step_us=1500, steps=6)
_network("counted", step_events=20, steps=4, most=3)
_network("firing", step_us=1000, steps=9, potential=False)


def _delta(name, channels, **more):
    """A little Delta network of random weights."""
    rng = np.random.default_rng(len(name))
    width, height = SENSOR
    layers = (
        DeltaLayerCard(name="a", op="conv2d", shape=(6, height // 2, width // 2), stride=(2, 2), pad=(1, 1), relu=True, step=0.2),
        DeltaLayerCard(name="b", op="max_pool", shape=(6, height // 4, width // 4), size=(2, 2), stride=(2, 2)),
        DeltaLayerCard(name="c", op="dense", shape=(5, 1, 1)),
    )  # fmt: skip
    tensors = {
        "a/weight": rng.normal(0, 0.4, (6, channels, 3, 3)), "a/bias": rng.normal(0, 0.1, 6),
        "c/weight": rng.normal(0, 0.2, (5, 6 * (height // 4) * (width // 4))),
    }  # fmt: skip
    delta.save(
        registry.own() / name,
        DeltaCard(
            name=name, version="1", labels=tuple(MotifLabel(name=f"class {i}") for i in range(5)),
            input=(channels, height, width), input_top=6, layers=layers,
            encoding=Encoding(width=width, height=height, most=3, **more),
        ),
        {key: value.astype(np.float32) for key, value in tensors.items()},
    )  # fmt: skip


_delta("changes", 2, step_us=1500)
_delta("grid-of-changes", 6, step_us=1500)
_delta("counted-changes", 2, step_events=15)

MOTIF = {"id": "motion", "kind": "motif", "model": "motif8"}

FIELD = [
    MOTIF,
    {"kind": "motion_field", "input": "motion.evidence", "window_us": 3000, "tile": 7, "min_rows": 2},
]

EXAMPLES = {
    "crop": [[{"kind": "crop", "x": 3, "y": 5, "width": 20, "height": 11}]],
    "downsample": [[{"kind": "downsample", "factor": 3}]],
    "refractory": [[{"kind": "refractory", "period_us": 2000}]],
    "optical_flow": [
        [{"kind": "optical_flow", "every": 1, "min_events": 3}],
        [{"kind": "optical_flow", "every": 3, "min_confidence": 0.005}],
    ],
    "background_activity": [[{"kind": "background_activity", "window_us": 3000}]],
    "motif": [
        [{**MOTIF, "threshold": {"evidence": -1e6}}],
        [{**MOTIF, "threshold": {"probability": 0.08}, "keep": 0.1}],
        [{**MOTIF, "threshold": {"rate_hz": 5000}, "at": {"every": 3}, "delays": 9}],
        [{**MOTIF, "threshold": {"evidence": 1.0}, "at": {"grid": 6}}],
        [{**MOTIF, "model": "apart", "threshold": {"evidence": 0.5}}],
        [{**MOTIF, "model": "apart", "threshold": {"probability": 0.7}}],
        [{**MOTIF, "model": "columns", "threshold": {"probability": 0.4}}],
        [{**MOTIF, "model": "sparse", "threshold": {"evidence": 0.1}}],
        [{**MOTIF, "threshold": {"evidence": -1e6}, "at": {"random": 0.01, "seed": 5}}],
    ],
    "motion_field": [FIELD],
    "gain": [
        [MOTIF, {"kind": "gain", "input": "motion.evidence", "tau_us": 20_000, "least": 2}],
        [
            MOTIF,
            {
                "id": "even",
                "kind": "gain",
                "input": "motion.evidence",
                "tile": 9,
                "least": 1,
                "threshold": 3.0,
            },
        ],
    ],
    "motion_energy": [[{"kind": "motion_energy", "size": 7, "delays": 9, "at": {"every": 2}}]],
    "global_motion": [[*FIELD, {"kind": "global_motion", "tile": 7, "min_tiles": 3, "min_spread": 0.0}]],
    "looming": [
        [
            *FIELD,
            {"kind": "global_motion", "tile": 7, "min_tiles": 3, "min_spread": 0.0},
            {
                "kind": "looming",
                "contact_within_us": 1_000_000_000,
                "min_confidence": 0.0,
                "growth": 0.0,
                "windows": 1,
            },
        ]
    ],
    "movers": [
        [
            *FIELD,
            {
                "kind": "movers",
                "min_spread": 0.0,
                "min_tiles": 1,
                "windows": 1,
                "differs": 0.2,
                "min_confidence": 0.0,
            },
        ],
        [*FIELD, {"kind": "movers", "camera": "still", "windows": 1, "min_tiles": 1, "min_confidence": 0.0}],
    ],
    "complexity": [[{"kind": "complexity", "tile": 9, "bin_us": 700, "window_bins": 6}]],
    "reservoir": [
        [{"kind": "reservoir", "neurons": 20, "step_us": 900, "window_steps": 3, "gain": 8}],
        [
            {
                "kind": "reservoir",
                "neurons": 20,
                "step_us": 900,
                "window_steps": 3,
                "astrocyte": True,
                "balance": 0.1,
            }
        ],
    ],
    "delta_network": [
        [{"kind": "delta_network", "model": "changes"}],
        [{"kind": "delta_network", "model": "changes", "window_steps": 4, "every_steps": 3}],
        [
            {
                "kind": "delta_network",
                "model": "grid-of-changes",
                "representation": "voxel_grid",
                "window_steps": 3,
            }
        ],
        [{"kind": "delta_network", "model": "counted-changes", "window_steps": 2}],
    ],
    "spiking_classifier": [
        [{"kind": "spiking_classifier", "model": "timed"}],
        [{"kind": "spiking_classifier", "model": "timed", "stop": {"confidence": 0.5}, "window_steps": 9}],
        [{"kind": "spiking_classifier", "model": "timed", "stop": {}, "leak": 0.5}],
        [{"kind": "spiking_classifier", "model": "timed", "decide": "recording"}],
        [{"kind": "spiking_classifier", "model": "counted"}],
        [{"kind": "spiking_classifier", "model": "counted", "stop": {"confidence": 0.4}}],
        [{"kind": "spiking_classifier", "model": "firing"}],
        [{"kind": "spiking_classifier", "model": "firing", "readout": "first_spike", "stop": {}}],
    ],
}
"""Per kind, pipelines whose last stage is of that kind."""
