"""A recorded stream once more: the same frames, the same decisions, the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import frame_file, wire
from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.errors import UserError
from pipeline.graph import Graph
from pipeline.intake import Intake
from pipeline.spec import PipelineSpec, Sensor, preset, validate


class ReplayError(UserError):
    """A recording or a log that cannot be replayed."""


def read_admission(path: Path) -> list[tuple[int, int]]:
    """Runs of frames that were shed, from the admission log of a realtime stream.

    Raises:
        ReplayError: it is none.
    """
    runs: list[tuple[int, int]] = []
    for i, line in enumerate(path.read_text(errors="replace").splitlines()):
        try:
            first, last = json.loads(line)["shed"]
            runs.append((int(first), int(last)))
        except (ValueError, KeyError, TypeError) as problem:
            raise ReplayError(f'{path.name}: line {i + 1}: not {{"shed": [first, last], ...}}') from problem
    return runs


def replay(recording: Path, shed: list[tuple[int, int]], pipeline: PipelineSpec | None = None) -> Intake:
    """Run all frames of a recording through its pipeline; the engine behind the intake has the digests.

    Args:
        recording: of a stream with ``record``.
        shed: which frames to shed, as the stream did.
        pipeline: another pipeline than the stream's own.

    Raises:
        ReplayError: the recording does not say what it is of.
        FrameFileError: it is damaged.
    """
    about = frame_file.about(recording)
    if about.get("after_frame"):
        raise ReplayError(
            f"{recording.name}: begins behind frame {about['after_frame']}, at a snapshot of another stream: "
            "it cannot be run from the start"
        )
    try:
        spec = pipeline or _spec(about["pipeline"])
        sensor = Sensor.model_validate(about["sensor"])
        clock = Clock(int(about.get("reorder_us", 0)), late_is_error=about.get("late") == "error")
    except (KeyError, ValueError, TypeError) as problem:
        raise ReplayError(f"{recording.name}: does not say which stream it is of") from problem
    intake = Intake(Engine(Graph(spec, sensor), clock))
    numbers = _numbers(shed)
    next_shed = next(numbers, None)
    for frame in frame_file.frames(recording):
        if frame.type == wire.STREAM:
            continue
        while next_shed is not None and next_shed < frame.number:
            next_shed = next(numbers, None)
        if next_shed == frame.number and frame.type == wire.EVENTS:
            intake.shed(frame)
        else:
            intake.take(frame)
    if not intake.ended:
        intake.engine.end()
    return intake


def _spec(stated: Any) -> PipelineSpec:
    return preset(stated) if isinstance(stated, str) else validate(stated)


def _numbers(runs: list[tuple[int, int]]) -> Iterator[int]:
    for first, last in sorted(runs):
        yield from range(first, last + 1)
