"""What ``POST /v1/jobs`` takes beside the file."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.sources import InputOptions
from pipeline.spec import resolve


class JobOptions(InputOptions):
    """How the input is read, and what is done with it."""

    pipeline: str | dict[str, Any] = Field(default="motion", description="Name of a preset, or a pipeline.")
    video: bool = Field(
        default=False, description="Also draw annotated.webm: the events, and what was found."
    )

    def check_pipeline(self) -> dict[str, Any]:
        """The pipeline as a document.

        Raises:
            SpecError: it cannot be used.
        """
        return resolve(self.pipeline).model_dump(mode="json")
