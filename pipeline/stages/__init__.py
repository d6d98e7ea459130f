"""The stages there are: one operator a file, named here once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.stage import StageConfig
from pipeline.stages.background_activity import BackgroundActivity
from pipeline.stages.complexity import Complexity
from pipeline.stages.crop import Crop
from pipeline.stages.delta_network import DeltaNetworkStage
from pipeline.stages.downsample import Downsample
from pipeline.stages.gain import Gain
from pipeline.stages.global_motion import GlobalMotion
from pipeline.stages.looming import Looming
from pipeline.stages.motif import Motif
from pipeline.stages.motion_energy import MotionEnergy
from pipeline.stages.motion_field import MotionField
from pipeline.stages.movers import Movers
from pipeline.stages.optical_flow import OpticalFlow
from pipeline.stages.refractory import Refractory
from pipeline.stages.reservoir import Reservoir
from pipeline.stages.spiking_classifier import SpikingClassifier

AnyStage = Annotated[
    Crop | Downsample | Refractory | BackgroundActivity
    | Motif | MotionEnergy | Gain | MotionField | OpticalFlow | GlobalMotion | Looming | Movers
    | SpikingClassifier | DeltaNetworkStage | Reservoir | Complexity,
    Field(discriminator="kind"),
]  # fmt: skip

KINDS: dict[str, type[StageConfig]] = {
    config.model_fields["kind"].default: config
    for config in (
        Crop, Downsample, Refractory, BackgroundActivity, Motif, MotionEnergy, Gain, MotionField, OpticalFlow,
        GlobalMotion, Looming, Movers, SpikingClassifier, DeltaNetworkStage, Reservoir, Complexity,
    )
}  # fmt: skip
