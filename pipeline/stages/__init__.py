"""The stages there are: one operator a file, named here once."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Any, Union, get_args

from pydantic import Field, TypeAdapter

from pipeline.errors import first_line
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

BUILT_IN: tuple[type[StageConfig], ...] = (
    Crop, Downsample, Refractory, BackgroundActivity,
    Motif, MotionEnergy, Gain, MotionField, OpticalFlow, GlobalMotion, Looming, Movers,
    SpikingClassifier, DeltaNetworkStage, Reservoir, Complexity,
)  # fmt: skip

KINDS: dict[str, type[StageConfig]] = {config.kind_name(): config for config in BUILT_IN}
"""Every kind of stage by its name in YAML: those above, and those of plug-ins."""


def add(config: Any) -> str:
    """Make a kind of stage known: of a plug-in (:mod:`pipeline.plugins`). Returns its name in YAML.

    Raises:
        TypeError: it is no config of a stage whose ``kind`` is a ``Literal`` with a default.
        ValueError: the name is taken, or cannot be one.
    """
    if not (isinstance(config, type) and issubclass(config, StageConfig)):
        raise TypeError(f"{config!r} is no subclass of pipeline.stage.StageConfig")
    kind = config.kind_name()
    if not kind or get_args(config.model_fields["kind"].annotation) != (kind,):
        raise TypeError(f"{config.__name__} needs a field such as kind: Literal['polarity'] = 'polarity'")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", kind):
        raise ValueError(f"kind {kind!r}: allowed are small letters, digits and _")
    try:  # one config that pydantic cannot use would spoil every pipeline, and the list of kinds
        TypeAdapter(config).json_schema()
    except Exception as problem:
        raise ValueError(f"{config.__name__}: {type(problem).__name__}: {first_line(problem)}") from problem
    if KINDS.setdefault(kind, config) is not config:
        raise ValueError(f"there is a stage of the kind {kind!r} already")
    return kind


def forget(kinds: Collection[str]) -> None:
    """Take back kinds that were added."""
    for kind in kinds:
        if KINDS.get(kind) not in {None, *BUILT_IN}:
            del KINDS[kind]


def config_of(document: Any) -> StageConfig:
    """The config of one stage, checked as its kind wants it.

    Raises:
        ValidationError: it is wrong; its places begin with the kind, which is no key of the document.
    """
    return _adapter(tuple(KINDS.values())).validate_python(document)


@lru_cache(1)  # plug-ins change the choices, hardly ever
def _adapter(choices: tuple[type[StageConfig], ...]) -> TypeAdapter[StageConfig]:
    any_of_them: Any = Annotated[Union[choices], Field(discriminator="kind")]  # noqa: UP007 - as many as there are
    return TypeAdapter(any_of_them)
