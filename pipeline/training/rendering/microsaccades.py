"""Microsaccades of a rendered eye, as a DVS sees them: the stand-in for a data set that cannot be had.

Seven classes, amplitudes of 0.5 to 2 degrees in steps of 0.25: out along one direction, a moment there, and back.
An eyeball (radius 12 mm) with a pupil, an iris of random fibres and a sclera with vessels turns before a camera that
looks at the pupil; it is rendered at 10 kHz and seen through our DVS pixel. Direction, speed,
onset, length of the recording, the eye and the light are drawn anew each time, and none of them from the
amplitude, so that neither the number of events nor the duration gives it away.

After Shariff et al., "Benchmarking microsaccade recognition with event cameras", BMVC 2025; texture, view and
timing are ours. Their movements of 0.25 to 2.25 ms leave nothing behind a photoreceptor of 30 Hz, whatever the
amplitude, and are faster than eyes: ours take 10 to 30 ms each way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline import packets
from pipeline.packets import Events
from pipeline.sources.emulator import PRESETS, Emulator
from pipeline.training.labelled import Recording

AMPLITUDES_DEG = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""The classes."""

_EYEBALL_MM, _RENDER_HZ = 12.0, 10_000
_TEXTURE, _MM_ACROSS = 1024, 14.0
"""Pixels of the picture that is wrapped around the eyeball's front, and how wide that is."""

Image = NDArray[np.float32]


class EyePlan(BaseModel):
    """How the recordings are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=128, ge=16, le=512, description="side of the region that is looked at, pixels")
    px_per_mm: float = Field(
        default=40.0,
        gt=0,
        description="of the camera: the iris is 600 pixels across, as on an HD sensor near the eye",
    )
    movement_us: tuple[int, int] = Field(
        default=(2500, 22_500), description="out and back, shortest and longest"
    )
    recording_us: tuple[int, int] = Field(
        default=(30_000, 50_000), description="with the stillness around it"
    )
    preset: Literal["ideal", "clean", "noisy", "v2e"] = Field(default="noisy", description="of the DVS pixel")


@dataclass(frozen=True)
class Eye:
    """One eye: its picture, and where the camera looks at it.

    Attributes:
        picture: [1024, 1024] 0..255, the front of the eyeball, pupil in the middle.
        centre_mm: (x, y) of the pupil in the camera's view.
    """

    picture: Image
    centre_mm: tuple[float, float]


def draw_eye(rng: np.random.Generator) -> Eye:
    """An eye that nobody has seen."""
    half = _MM_ACROSS / 2
    axis = np.linspace(-half, half, _TEXTURE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    pupil, limbus = rng.uniform(1.0, 1.15), rng.uniform(5.4, 6.2)  # small, as it is in bright light
    sclera = rng.uniform(170, 225) + 10 * _clouds(rng, 5)
    picture = np.asarray(sclera, np.float32) + _vessels(rng, radius, angle, limbus)
    iris = rng.uniform(110, 190) * (
        1 + rng.uniform(0.15, 0.5) * _fibres(rng, radius, angle) + 0.1 * _clouds(rng, 40)
    )
    picture = _blend(picture, np.asarray(iris, np.float32), limbus - radius, rng.uniform(0.15, 0.5))
    dark = np.full_like(picture, rng.uniform(6, 25))
    wobble = 1 + 0.02 * np.cos(3 * angle + rng.uniform(0, 6))
    picture = _blend(picture, dark, pupil * wobble - radius, rng.uniform(0.02, 0.06))
    bright = picture * rng.uniform(0.8, 1.15)
    centre = (rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08))
    return Eye(np.clip(bright, 1, 255).astype(np.float32), centre)


def record(eye: Eye, amplitude_deg: float, plan: EyePlan, rng: np.random.Generator) -> Events:
    """Events of one microsaccade, times from 0."""
    direction, moving = rng.uniform(0, 2 * math.pi), rng.uniform(*plan.movement_us) * 1e-6
    whole = rng.uniform(*plan.recording_us) * 1e-6
    onset = rng.uniform(0, max(whole - moving, 0) * 0.6)
    ramps = rng.uniform(0.25, 0.35, 2)  # the share of it that goes out, and that comes back
    config = PRESETS[plan.preset].model_copy(update={"seed": int(rng.integers(0, 2**62))})
    emulator, parts = Emulator(config, plan.size, plan.size), []
    rest = _view(eye, plan, 0.0, direction)
    for t in _times(whole, onset, moving):
        at = amplitude_deg * _out_and_back((t - onset) / moving, *ramps)
        parts.append(emulator.feed(_view(eye, plan, at, direction) if at else rest, t))
    return packets.join([part for part in parts if len(part[0])])


def recordings(
    eyes: int, per_class: int, plan: EyePlan, seed: int, threads: int = 1,
    progress: Callable[[float, str], None] = lambda _share, _text: None,
) -> tuple[list[Recording], list[str]]:  # fmt: skip
    """(recordings, the amplitude of each): ``per_class`` of each amplitude and eye; an eye is a group."""

    def of_eye(number: int) -> list[Recording]:
        eye = draw_eye(np.random.default_rng([seed, number]))
        return [
            Recording(
                f"{amplitude:g}", record(eye, amplitude, plan, np.random.default_rng([seed, number, label, k])),
                plan.size, plan.size, number,
            )
            for label, amplitude in enumerate(AMPLITUDES_DEG) for k in range(per_class)
        ]  # fmt: skip

    made: list[Recording] = []
    with ThreadPoolExecutor(threads) as pool:
        for number, some in enumerate(pool.map(of_eye, range(eyes))):
            made += some
            progress((number + 1) / eyes, f"eye {number + 1} of {eyes}")
    return made, [one.name for one in made]


def _times(whole: float, onset: float, moving: float) -> list[float]:
    """When it is rendered, s: at 10 kHz while the eye moves, at 1 kHz while nothing but noise happens."""
    fine, coarse = 1 / _RENDER_HZ, 10 / _RENDER_HZ
    times, t = [0.0], 0.0
    while t < whole:
        t = round(t + (fine if onset - coarse <= t <= onset + moving else coarse), 9)
        times.append(t)
    return times


def _out_and_back(phase: float, out: float, back: float) -> float:
    """0 to 1 in the first ``out`` of the movement, and to 0 in its last ``back``, as smooth as can be."""
    if not 0 < phase < 1:
        return 0.0
    part = min(phase / out, (1 - phase) / back, 1.0)
    return part**3 * (10 - 15 * part + 6 * part * part)


def _view(eye: Eye, plan: EyePlan, turned_deg: float, direction: float) -> Image:
    """What the camera sees of the eyeball turned by an angle along a direction, orthographically."""
    axis = (np.arange(plan.size, dtype=np.float32) - (plan.size - 1) / 2) / np.float32(plan.px_per_mm)
    x, y = np.meshgrid(axis - eye.centre_mm[0], axis - eye.centre_mm[1])
    depth = np.sqrt(np.maximum(_EYEBALL_MM**2 - x * x - y * y, 0))
    angle = math.radians(turned_deg)
    along = x * math.cos(direction) + y * math.sin(direction)
    across = -x * math.sin(direction) + y * math.cos(direction)
    before = along * math.cos(angle) - depth * math.sin(angle)  # where it was before it turned
    scale = _TEXTURE / _MM_ACROSS
    u = (before * math.cos(direction) - across * math.sin(direction)) * scale + _TEXTURE / 2
    v = (before * math.sin(direction) + across * math.cos(direction)) * scale + _TEXTURE / 2
    seen: Any = cv2.remap(
        eye.picture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )  # fmt: skip
    return seen


def _clouds(rng: np.random.Generator, cells: int) -> Any:
    """Smooth noise of about unit deviation."""
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (_TEXTURE, _TEXTURE), interpolation=cv2.INTER_CUBIC)


def _fibres(rng: np.random.Generator, radius: Any, angle: Any) -> Any:
    """Radial fibres: noise that is fine around the pupil and long outwards."""
    coarse = rng.normal(size=(6, int(rng.integers(60, 160)))).astype(np.float32)
    coarse = np.concatenate([coarse, coarse[:, :1]], axis=1)
    rows = np.clip(radius / 6.5 * 5, 0, 4.99).astype(np.float32)
    columns = ((angle + math.pi) / (2 * math.pi) * (coarse.shape[1] - 1)).astype(np.float32)
    return cv2.remap(coarse, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _vessels(rng: np.random.Generator, radius: Any, angle: Any, limbus: float) -> Any:
    """Darker lines in the sclera."""
    total = np.zeros_like(radius)
    for _ in range(int(rng.integers(4, 12))):
        at = rng.uniform(-math.pi, math.pi) + 0.1 * np.sin(radius * rng.uniform(1, 4))
        apart = np.abs(np.angle(np.exp(1j * (angle - at)))) * radius
        total -= rng.uniform(10, 40) * np.exp(-((apart / rng.uniform(0.04, 0.1)) ** 2)) * (radius > limbus)
    return total


def _blend(outside: Any, inside: Any, depth: Any, softness_mm: float) -> Any:
    """``inside`` where ``depth`` (mm) is above 0, with a soft edge."""
    share = 1 / (1 + np.exp(np.clip(-depth / (softness_mm / 4), -60, 60)))
    return (outside * (1 - share) + inside * share).astype(np.float32)
