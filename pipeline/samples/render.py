"""Renders the bundled sample: ``python -m pipeline.samples.render [FOLDER]``.

Eight round windows, each with its own texture sliding in one of eight directions, at 500 frames per
second of scene time: slow enough in pixels per frame (0.5) that brightness moves and does not cross-fade.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.samples import CLIP, TRUTH, Truth, Window

_PITCH, _RADIUS, _SPEED = 64, 26, 0.25
_FRAMES, _RATE = 200, 500.0
_PADDING = 96


def scene() -> Truth:
    """Two rows of four windows, directions in steps of 45 degrees."""
    windows = tuple(
        Window(
            x=_PITCH * (i % 4) + _PITCH / 2 - 0.5, y=_PITCH * (i // 4) + _PITCH / 2 - 0.5, radius=_RADIUS,
            direction_deg=45.0 * i, speed_px_per_ms=_SPEED,
        )
        for i in range(8)
    )  # fmt: skip
    return Truth(
        width=4 * _PITCH, height=2 * _PITCH, frames=_FRAMES, frames_per_second=_RATE, windows=windows
    )


def render(folder: Path) -> None:
    """Write the clip and its truth into ``folder``."""
    truth = scene()
    rng = np.random.default_rng(1)
    textures = [_texture(rng) for _ in truth.windows]
    size = (truth.width, truth.height)
    writer = cv2.VideoWriter(
        str(folder / CLIP.name), cv2.VideoWriter.fourcc(*"mp4v"), truth.frames_per_second, size
    )
    for i in range(truth.frames):
        frame = _frame(truth, textures, i * 1000 / truth.frames_per_second)
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    (folder / TRUTH.name).write_text(truth.model_dump_json(indent=2) + "\n")


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """Blobs of a few pixels, grey values around 128."""
    side = _PITCH + 2 * _PADDING
    noise: Any = rng.standard_normal((side, side)).astype(np.float32)
    blobs = sum(
        (w * _unit(cv2.GaussianBlur(noise, (0, 0), s)) for s, w in ((2.0, 0.8), (5.0, 0.6))), np.float32(0)
    )
    return np.clip(110 + 28 * np.asarray(blobs, np.float32), 20, 230)


def _unit(image: Any) -> NDArray[np.float32]:
    return (image - image.mean()) / image.std()


def _frame(truth: Truth, textures: list[NDArray[np.float32]], ms: float) -> NDArray[np.uint8]:
    canvas = np.full((truth.height, truth.width), 110, np.float32)
    y, x = np.mgrid[0 : truth.height, 0 : truth.width].astype(np.float32)
    for window, texture in zip(truth.windows, textures, strict=True):
        vx, vy = window.velocity
        left, top = window.x - _PITCH / 2 + 0.5, window.y - _PITCH / 2 + 0.5
        shown = cv2.remap(
            texture, x - left + _PADDING - vx * ms, y - top + _PADDING - vy * ms, cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        inside = np.hypot(x - window.x, y - window.y) < window.radius
        canvas[inside] = shown[inside]
    return np.clip(canvas, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    render(Path(sys.argv[1]) if len(sys.argv) > 1 else CLIP.parent)
