"""A recorded stream once more: the same frames, the same decisions, the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import frame_file, wire
from pipeline.clock import Clock
from pipeline.engine import Engine
from pipeline.errors import UserError
from pipeline.graph import Graph
from pipeline.intake import Intake
from pipeline.sensor import Sensor
from pipeline.spec import PipelineSpec, resolve


class ReplayError(UserError):
    """A recording or a log that cannot be replayed."""


_MOST_STRIDE = 65_536


@dataclass(frozen=True)
class Admission:
    """What a realtime stream decided.

    Attributes:
        shed: runs of frames that were shed, first and last.
        strides: (frame, stride): from that frame on detectors evaluated at one of so many places.
    """

    shed: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    strides: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def read_admission(path: Path) -> Admission:
    """The admission log of a realtime stream.

    Raises:
        ReplayError: it is none.
    """
    found = Admission()
    for i, line in enumerate(path.read_text(errors="replace").splitlines()):
        try:
            document = json.loads(line)
            if "stride" in document:
                number, stride = int(document["from"]), int(document["stride"])
                if not 1 <= stride <= _MOST_STRIDE:
                    raise ValueError(stride)
                found.strides.append((number, stride))
            else:
                first, last = document["shed"]
                found.shed.append((int(first), int(last)))
        except (ValueError, KeyError, TypeError) as problem:
            allowed = '{"shed": [first, last], ...} or {"stride": n, "from": frame}'
            raise ReplayError(f"{path.name}: line {i + 1}: not {allowed}") from problem
    return found


def replay(recording: Path, admission: Admission, pipeline: PipelineSpec | None = None) -> Intake:
    """Run all frames of a recording through its pipeline; the engine behind the intake has the digests.

    Args:
        recording: of a stream with ``record``.
        admission: what to shed, and how often to evaluate, as the stream did.
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
        spec = pipeline or resolve(about["pipeline"])
        sensor = Sensor.model_validate(about["sensor"])
        clock = Clock(int(about.get("reorder_us", 0)), late_is_error=about.get("late") == "error")
    except (KeyError, ValueError, TypeError) as problem:
        raise ReplayError(f"{recording.name}: does not say which stream it is of") from problem
    intake = Intake(Engine(Graph(spec, sensor), clock))
    numbers, strides = _numbers(admission.shed), sorted(admission.strides, key=lambda one: one[0])[::-1]
    next_shed = next(numbers, None)
    for frame in frame_file.frames(recording):
        if frame.type == wire.STREAM:
            continue
        while strides and strides[-1][0] <= frame.number:
            intake.set_stride(strides.pop()[1])
        while next_shed is not None and next_shed < frame.number:
            next_shed = next(numbers, None)
        if next_shed == frame.number and frame.type == wire.EVENTS:
            intake.shed(frame)
        else:
            intake.take(frame)
    if not intake.ended:
        intake.engine.end()
    return intake


def _numbers(runs: list[tuple[int, int]]) -> Iterator[int]:
    for first, last in sorted(runs):
        yield from range(first, last + 1)
