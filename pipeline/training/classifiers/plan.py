"""Everything that decides what a classifier becomes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.models.spiking import Encoding
from pipeline.training.augment import Augment
from pipeline.training.classifiers.shallow import ReservoirPlan, StdpPlan
from pipeline.training.classifiers.spiking import LayerPlan, NeuronPlan
from pipeline.training.classifiers.tess import TessPlan

INPUT_STEP = 0.25
"""What an event adds to the input of a Delta network."""

SHARDS = 4
"""Parts of a batch, whatever the number of threads: sums come in this order."""


class ClassifierTraining(BaseModel):
    """A training; the same configuration and recordings make the same network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="classifier", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    recordings: str = Field(description="folder of recordings, a folder a label, or an .npz of many")
    step_us: int | None = Field(default=40_000, ge=1, description="a step of the network is so long")
    step_events: int | None = Field(default=None, ge=1, description="or so many events")
    steps: int = Field(default=8, ge=1, le=4096, description="looked at of each recording")
    most: int = Field(default=1, ge=1, description="events of a pixel that count in a step")
    polarities: Literal[1, 2] = 2
    layers: tuple[LayerPlan, ...] = (
        LayerPlan(channels=24, size=5, stride=2), LayerPlan(channels=48, size=3, stride=2)
    )  # fmt: skip
    neuron: NeuronPlan = NeuronPlan()
    augment: Augment = Augment()
    method: Literal["sltt", "tess", "reservoir", "stdp"] = Field(
        default="sltt",
        description="the spatial gradient of each step, local traces, a reservoir that is read, or symmetric STDP",
    )
    reservoir: ReservoirPlan = ReservoirPlan()
    stdp: StdpPlan = StdpPlan()
    tess: TessPlan = TessPlan()
    backward_steps: int | None = Field(
        default=None, ge=1, description="only so many steps, drawn anew, carry the gradient (SLTT-K)"
    )
    window_steps: int = Field(
        default=3, ge=1, description="of a Delta network: steps that its input is about"
    )
    loss_by_steps: float = Field(
        default=0.01, ge=0, le=1, description="of a Delta network: accuracy that coarser steps may cost"
    )
    epochs: int = Field(default=120, ge=1)
    batch: int = Field(default=32, ge=SHARDS, multiple_of=SHARDS)
    rate: float = Field(default=4e-3, gt=0)
    shrink: float = Field(default=1e-3, ge=0, description="of the weights, times the rate, a step")
    folds: int = Field(
        default=0, ge=0, le=20, description="0: hold out a fifth; else cross-validate, learn from all"
    )
    tune: tuple[dict[str, Any], ...] = Field(
        default=(), description="changes to this configuration, compared inside each fold"
    )
    seed: int = Field(default=1, ge=0)

    def encoding(self, width: int, height: int) -> Encoding:
        """How events become input."""
        return Encoding(
            width=width, height=height, step_us=self.step_us, step_events=self.step_events, steps=self.steps,
            most=self.most, polarities=self.polarities,
        )  # fmt: skip


PRESETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "microsaccade": {
        "name": "microsaccade", "step_us": 160_000, "steps": 1, "most": 4, "epochs": 24, "rate": 3e-3,
        "layers": [
            {"channels": 24, "size": 7, "stride": 2}, {"channels": 48, "size": 5, "stride": 2},
            {"channels": 64, "size": 3, "stride": 2}, {"channels": 96, "size": 3, "stride": 2},
        ],
        "augment": {"shift_px": 4.0, "turn_deg": 180.0, "mirror": True, "delay_us": 0},
    },
    "nmnist": {
        "name": "nmnist", "epochs": 150, "folds": 5,
        "augment": {"shift_px": 2.0, "turn_deg": 10.0, "zoom": 0.1, "shear": 0.15, "delay_us": 40_000},
        "tune": (
            {},
            {"layers": [
                {"channels": 24, "size": 5, "stride": 2}, {"channels": 48, "size": 3, "stride": 2},
                {"channels": 96, "size": 3, "stride": 2},
            ]},
            {"step_us": 20_000, "steps": 16, "neuron": {"decay": 0.7}},
        ),
    },
}  # fmt: skip
"""What differs from the defaults."""
