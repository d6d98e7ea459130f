"""Delta networks straight on the frames of a video, without a DVS sensor between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kernels.columns import F32
from pipeline.models import confidence, cost
from pipeline.models.bundle import ModelError
from pipeline.models.delta import DeltaCard, DeltaNetwork, DeltaRun
from pipeline.sensor import Sensor
from pipeline.sources.base import SourceError
from pipeline.sources.frames import fitted, grey


def levels(path: Path, card: DeltaCard, most: int | None = None) -> Iterator[F32]:
    """The frames of a video as a network's input levels [neuron], in the order (y, x, channel).

    Grey for one channel, RGB for three, 0 to 255, fitted to the network's grid with a black border.

    Raises:
        ModelError: the network reads neither one channel nor three.
        SourceError: it is no video.
    """
    channels, height, width = card.input
    if channels not in {1, 3}:
        raise ModelError(f"{card.name} reads {channels} channels; of a video there are 1 (grey) or 3 (RGB)")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SourceError(f"{path.name}: not a video that OpenCV reads")
        grid, n = Sensor(width=width, height=height), 0
        while most is None or n < most:
            more, frame = capture.read()
            if not more:
                break
            n += 1
            planes = (
                [grey(frame)] if channels == 1 else [np.ascontiguousarray(frame[:, :, c]) for c in (2, 1, 0)]
            )
            seen = np.stack([fitted(plane, grid, "letterbox") for plane in planes], axis=2)
            yield np.minimum(seen.reshape(-1), card.input_top).astype(np.float32)
    finally:
        capture.release()
    if n == 0:
        raise SourceError(f"{path.name}: has no frames")


def answers(path: Path, network: DeltaNetwork) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(what the network says of each frame, what that cost)."""
    run = DeltaRun(network)
    said: list[dict[str, Any]] = []
    labels = network.card.labels
    for number, frame in enumerate(levels(path, network.card)):
        found = run.step(frame)
        row: dict[str, Any] = {"frame": number}
        if len(found) == len(labels):
            share = confidence.certainties(found, 1.0)
            best = int(share.argmax())
            row |= {"label": labels[best].name, "confidence": round(float(share[best]), 6)}
        said.append({**row, "answers": [round(float(one), 6) for one in found[:1024]]})
    return said, cost.of_delta_run(network, run)
