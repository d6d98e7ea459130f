"""What a file of another framework does not say: the one description for the command line, REST and its child."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.models.profiles import Reading
from pipeline.sensor import SensorSize


class ImportOptions(Reading):
    """How a .nir or .onnx file is read, and how events become its input."""

    step: float | None = Field(default=None, gt=0, description="of an .onnx network: q of all layers")
    input_step: float | None = Field(default=None, gt=0, description="of an .onnx network: q of its input")
    sensor: SensorSize | None = Field(default=None, description="WIDTHxHEIGHT that its input is")
    step_us: int | None = Field(default=None, ge=1, description="a step is a span of so many us")
    step_events: int | None = Field(default=None, ge=1, description="or so many events")
    steps: int | None = Field(default=None, ge=1, description="steps of a recording or a window")
    most: int = Field(default=1, ge=1, description="events of a pixel that are counted in a step, at most")

    @property
    def reading(self) -> dict[str, Any]:
        """What was said of the network itself."""
        names = {*Reading.model_fields, "step", "input_step"}
        return self.model_dump(include=names, exclude_unset=True)

    @property
    def encoding(self) -> dict[str, Any] | None:
        """What was said of its input; None where no step was."""
        if self.step_us is None and self.step_events is None:
            return None
        names = {"sensor", "step_us", "step_events", "steps", "most"}
        return self.model_dump(include=names, exclude_none=True)
