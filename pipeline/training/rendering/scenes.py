"""Scenes of known motion under the DVS pixel: textures, bars, polygons, several at a time, and a moving camera.

A scene is a stack of layers. Each is a picture on a canvas of its own, with a mask, and moves by an affine map;
what lies on top covers what is below. Frames follow each other so closely that nothing moves more than a third of a
pixel from one to the next, and each event is told which layer it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels import filters
from kernels.columns import F64, XY, P, T
from pipeline.sources.emulator import Emulator, EmulatorConfig
from pipeline.training.rendering.images import Image

NO_LAYER = -1
_PX_A_FRAME = 0.3
_LONGEST_STEP_US = 4000
_FRAMES_A_SWING = 20
_NEAR_PX = 3
"""Events so close to a mask belong to it: edges are soft, and pixels react late."""


@dataclass(frozen=True)
class Movement:
    """r(t) = centre + g exp((zoom + i rotation) t) (r(0) - centre) + velocity t, g = 1 / (1 - t / contact), t in ms.

    Attributes:
        vx: px/ms; so is ``vy``.
        vy: see above.
        zoom: 1/ms.
        rotation: rad/ms, clockwise.
        centre: of zoom and rotation, px.
        contact_ms: when the camera is there, as it nears what it sees at a constant speed.
    """

    vx: float = 0.0
    vy: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    contact_ms: float = math.inf

    def matrix(self, ms: float) -> F64:
        """[2, 3] from where a point is at time 0 to where it is at ``ms``."""
        grown, angle = math.exp(self.zoom * ms) / (1 - ms / self.contact_ms), self.rotation * ms
        turn = grown * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        middle = np.array(self.centre)
        return np.column_stack([turn, middle - turn @ middle + np.array([self.vx, self.vy]) * ms])

    def velocity(self, x: F64, y: F64, ms: F64 | float) -> tuple[F64, F64]:
        """(vx, vy) px/ms of what is at (x, y) at time ``ms``."""
        dx = x - self.centre[0] - self.vx * ms
        dy = y - self.centre[1] - self.vy * ms
        zoom = self.zoom + 1 / (self.contact_ms - ms)
        return self.vx + zoom * dx - self.rotation * dy, self.vy + zoom * dy + self.rotation * dx

    def fastest(self, until_ms: float) -> float:
        """Pixels per ms that anything on a small sensor moves by then, about."""
        zoom = abs(self.zoom) + 1 / (self.contact_ms - until_ms)
        return math.hypot(self.vx, self.vy) + 100 * math.hypot(zoom, self.rotation)


@dataclass(frozen=True)
class Layer:
    """A picture that moves.

    Attributes:
        log: log intensity [h, w] on its canvas.
        mask: how much of each pixel it covers [h, w], 0 to 1; None where it covers everything.
        at: where the canvas' corner is at time 0, px.
        movement: how it moves.
        wrap: (left, top, width, height) of the corner's range: what leaves it comes back in on the other side.
        moves: whether anybody asks where it moves.
        still_mask: whether the mask stays where it is while the picture moves behind it.
    """

    log: Image
    mask: Image | None
    at: tuple[float, float]
    movement: Movement
    wrap: tuple[float, float, float, float] | None = None
    moves: bool = True
    still_mask: bool = False

    def matrix(self, ms: float) -> F64:
        """[2, 3] from canvas to sensor."""
        moved = self.movement.matrix(ms)
        start = np.array([[1.0, 0.0, self.at[0]], [0.0, 1.0, self.at[1]], [0.0, 0.0, 1.0]])
        out = moved @ start
        if self.wrap is not None:
            left, top, width, height = self.wrap
            out[0, 2] = (out[0, 2] - left) % width + left
            out[1, 2] = (out[1, 2] - top) % height + top
        return out


@dataclass(frozen=True)
class Lamp:
    """A light that swings.

    Attributes:
        hz: how often a second.
        depth: by how much of log intensity, pixel by pixel [h, w].
    """

    hz: float
    depth: Image

    def at(self, ms: float) -> Image:
        """What it adds to log intensity."""
        return self.depth * np.float32(math.sin(2 * math.pi * self.hz * ms / 1000))


@dataclass(frozen=True)
class Scene:
    """What is seen.

    Attributes:
        layers: from the back to the front.
        width: of the sensor.
        height: of the sensor.
        duration_ms: how long.
        kind: what it is called in tables.
        speed: px/ms of what the scene is about.
        lamp: what swings over all of it.
    """

    layers: tuple[Layer, ...]
    width: int
    height: int
    duration_ms: float
    kind: str
    speed: float
    lamp: Lamp | None = None

    @property
    def step_us(self) -> int:
        """From frame to frame."""
        fastest = max(layer.movement.fastest(self.duration_ms) for layer in self.layers)
        longest_us = _LONGEST_STEP_US if self.lamp is None else 1e6 / self.lamp.hz / _FRAMES_A_SWING
        return int(min(longest_us, max(50, 1000 * _PX_A_FRAME / max(fastest, 1e-6))))


@dataclass(frozen=True)
class Take:
    """What a sensor saw of a scene.

    Attributes:
        t: us; so are the columns ``x``, ``y``, ``p``.
        x: see above.
        y: see above.
        p: see above.
        layer: of each event, NO_LAYER where nothing moved there.
        scene: what was seen.
        start_us: when the scene began to move; before it there is only noise.
    """

    t: T
    x: XY
    y: XY
    p: P
    layer: NDArray[np.int8]
    scene: Scene = field(repr=False)
    start_us: int = 0


def steady(take: Take, window_us: int) -> Take:
    """A take without its background activity, as presets filter it."""
    last = filters.blank_map(take.scene.width + 2, take.scene.height + 2)
    kept = filters.background_activity(take.t, take.x, take.y, last, window_us)
    return Take(
        take.t[kept], take.x[kept], take.y[kept], take.p[kept], take.layer[kept], take.scene, take.start_us
    )


def film(scene: Scene, sensor: EmulatorConfig, before_us: int = 0) -> Take:
    """The events of a scene, after ``before_us`` of standing still."""
    emulator = Emulator(sensor, scene.width, scene.height)
    step_us, parts = scene.step_us, list[tuple[NDArray[Any], ...]]()
    times = [
        *range(0, before_us, 20_000),
        *range(before_us, before_us + int(scene.duration_ms * 1000) + 1, step_us),
    ]
    for t_us in times:
        frame, owner = _render(scene, max(0, t_us - before_us) / 1000)
        t, x, y, p = emulator.feed(frame, t_us * 1e-6)
        if len(t):
            parts.append((t, x, y, p, owner[y, x]))
    if not parts:
        none = np.empty(0, np.uint16)
        return Take(
            np.empty(0, np.int64), none, none, np.empty(0, np.bool_), np.empty(0, np.int8), scene, before_us
        )
    t, x, y, p, layer = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Take(t, x, y, p, layer, scene, before_us)


def _render(scene: Scene, ms: float) -> tuple[Image, NDArray[np.int8]]:
    """(frame 0..255, layer of each pixel)."""
    size = (scene.width, scene.height)
    log = np.zeros((scene.height, scene.width), np.float32)
    owner = np.full((scene.height, scene.width), NO_LAYER, np.int8)
    for number, layer in enumerate(scene.layers):
        matrix = layer.matrix(ms)
        picture = _warped(layer.log, matrix, size, cv2.BORDER_REFLECT)
        if layer.mask is None:
            log, here = picture, np.ones_like(owner, np.bool_)
        else:
            held = layer.matrix(0) if layer.still_mask else matrix
            cover = np.clip(_warped(layer.mask, held, size, cv2.BORDER_CONSTANT), 0, 1)
            log = log + cover * (picture - log)
            here = cover > 0.05
            if not layer.still_mask:
                here = cv2.dilate(here.astype(np.uint8), np.ones((2 * _NEAR_PX + 1,) * 2, np.uint8)) > 0
        owner[here] = number if layer.moves else NO_LAYER
    if scene.lamp is not None:
        log = log + scene.lamp.at(ms)
    return np.clip(np.exp(log), 0, 255).astype(np.float32), owner


def _warped(image: Image, matrix: F64, size: tuple[int, int], border: int) -> Image:
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border), np.float32
    )


GREY = math.log(90.0)
"""Log intensity around which scenes lie: far above where pixels see linearly, and with room above it."""


def textured(
    image: Image,
    contrast: float,
    zoom: float,
    turn: float,
    side: int,
    rng: np.random.Generator,
    blur_px: float = 0.0,
) -> Image:
    """A turned part of an image, ``side`` pixels square, out of focus by a deviation of ``blur_px``; 90 % of its log
    intensities span ``contrast``."""
    if zoom < 1:  # no aliasing where it shrinks
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 / zoom), np.float32)
    h, w = image.shape
    linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) / zoom
    middle = np.array([rng.uniform(0.3, 0.7) * w, rng.uniform(0.3, 0.7) * h])
    matrix = np.column_stack([linear, middle - linear @ np.full(2, side / 2)])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    cut = np.asarray(
        cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT), np.float32
    )
    if blur_px > 0:
        cut = np.asarray(cv2.GaussianBlur(cut, (0, 0), blur_px), np.float32)
    log = np.log(np.clip(cut, 0, 255) + 15)
    low, high = np.percentile(log, (5, 95))
    log = (log - (low + high) / 2) * (contrast / max(float(high - low), 1e-3))
    return (np.clip(log, -1.5 * contrast, 1.0) + GREY).astype(np.float32)


def polygon(points: Sequence[tuple[float, float]], side: int) -> Image:
    """A filled polygon around the middle of a canvas of ``side`` pixels, its edges soft over a pixel."""
    fine = 8
    canvas = np.zeros((side * fine, side * fine), np.uint8)
    at = (np.array(points) + side / 2) * fine
    cv2.fillPoly(canvas, [np.rint(at).astype(np.int32)], 255)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 0.6), np.float32) / np.float32(255)


def flat(side: int, log: float) -> Image:
    """A canvas of one intensity."""
    return np.full((side, side), log, np.float32)
