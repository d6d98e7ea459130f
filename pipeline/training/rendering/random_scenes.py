"""Scenes drawn at random: what a motion field learns from, and what it is tested on.

Kinds: a texture that fills the view, one that is out of focus, a long bar, a triangle, a square, two shapes or two
textures that move in opposite directions. Speeds are uniform in their logarithm. Contrast is the span of log
intensity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.sources.emulator import PRESETS, EmulatorConfig
from pipeline.training.rendering.images import Image
from pipeline.training.rendering.scenes import (
    GREY,
    NO_LAYER,
    Lamp,
    Layer,
    Movement,
    Scene,
    Take,
    flat,
    polygon,
    textured,
)

CAMERA = ("rotation", "zoom", "camera and mover", "textured mover")
"""Further kinds, to test on: a texture that turns or grows about the middle, one that passes behind a square of one
intensity, and behind a disc of another texture."""
APPROACH = "approach"
"""One more: a texture that a camera nears at a constant speed, and would reach."""
SMOOTH = "smooth texture"
KINDS = ("texture", SMOOTH, "bar", "triangle", "square", "two shapes", "two textures")
_LAMPS = 0.06
"""The share of scenes to learn from in which light swings and nothing moves."""
_SHARES = (0.22, 0.12, 0.18, 0.09, 0.09, 0.15, 0.15)
SLOWEST, FASTEST = 0.02, 3.2
"""Speeds to test at, px/ms."""
WIDTH, HEIGHT = 160, 120
_TRAVEL_PX, _SHORTEST_MS, _LONGEST_MS = 60.0, 90.0, 700.0
_CANVAS = 420
_SIDE = 132
"""Of the canvas of a thing that moves, px."""
_BLUR_PX = (4.0, 16.0)


def scene(
    kind: str, speed: float, angle: float, contrast: float, images: Sequence[Image], rng: np.random.Generator,
    duration_ms: float | None = None, size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Scene:  # fmt: skip
    """A scene of a kind, in which things move at ``speed`` px/ms along ``angle``, radians, or against it."""
    movement = Movement(speed * math.cos(angle), speed * math.sin(angle))
    against = Movement(-movement.vx, -movement.vy)
    if kind in {"rotation", "zoom"}:
        # At 50 px from the middle things move at ``speed``.
        rate, middle = speed / 50 * (1 if rng.random() < 0.5 else -1), (size[0] / 2 - 0.5, size[1] / 2 - 0.5)
        about = Movement(**{kind: rate}, centre=middle)
        layers = [texture(images, contrast, about, rng)]
    elif kind == APPROACH:
        contact_ms = 50 / speed
        duration_ms = min(duration_ms or math.inf, 0.6 * contact_ms)
        middle = size[0] * rng.uniform(0.4, 0.6), size[1] * rng.uniform(0.4, 0.6)
        layers = [texture(images, contrast, Movement(centre=middle, contact_ms=contact_ms), rng)]
    elif kind == "camera and mover":
        layers = [
            texture(images, contrast, movement, rng),
            shape("square", 1.4, _other(movement, rng), size, rng),
        ]
    elif kind == "textured mover":
        layers = [
            texture(images, contrast, movement, rng),
            _disc(images, contrast, _other(movement, rng), size, rng),
        ]
    elif kind == "texture":
        layers = [texture(images, contrast, movement, rng)]
    elif kind == SMOOTH:
        blur_px = math.exp(rng.uniform(math.log(_BLUR_PX[0]), math.log(_BLUR_PX[1])))
        layers = [texture(images, contrast, movement, rng, blur_px)]
    elif kind == "two textures":
        layers = [texture(images, contrast, movement, rng), _half(images, contrast, against, rng)]
    else:
        layers = [Layer(flat(_CANVAS, GREY), None, (0.0, 0.0), Movement(), moves=False)]
        layers.append(shape(kind, contrast, movement, size, rng))
        if kind == "two shapes":
            layers.append(shape(kind, contrast, against, size, rng))
    if duration_ms is None:
        duration_ms = min(_LONGEST_MS, max(_SHORTEST_MS, _TRAVEL_PX / speed))
    return Scene(tuple(layers), *size, duration_ms, kind, speed)


def drawn(
    images: Sequence[Image], rng: np.random.Generator, slowest: float = 0.012, fastest: float = 4.2
) -> Scene:
    """A scene to learn from."""
    if rng.random() < _LAMPS:
        return under_a_lamp(images, rng)
    kind = str(rng.choice(KINDS, p=_SHARES))
    speed = math.exp(rng.uniform(math.log(slowest), math.log(fastest)))
    contrast = math.exp(rng.uniform(math.log(0.35), math.log(1.4)))
    return scene(kind, speed, rng.uniform(0, 2 * math.pi), contrast, images, rng)


def under_a_lamp(
    images: Sequence[Image], rng: np.random.Generator, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Scene:
    """A view that stands still under a lamp that flickers: all of it or a patch, less the further away."""
    layer = texture(images, math.exp(rng.uniform(math.log(0.35), math.log(1.4))), Movement(), rng)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    reach = math.exp(rng.uniform(math.log(12), math.log(200)))
    away = (x - rng.uniform(0, size[0])) ** 2 + (y - rng.uniform(0, size[1])) ** 2
    depth = rng.uniform(0.2, 1.0) * np.exp(-away / (2 * reach**2))
    lamp = Lamp(math.exp(rng.uniform(math.log(40), math.log(300))), depth.astype(np.float32))
    return Scene((replace(layer, moves=False),), *size, 250.0, "lamp", 1.0, lamp)


def tested_speed(stratum: int, strata: int, rng: np.random.Generator) -> float:
    """A speed to test at, drawn in one of the strata of equal ratio that the range is cut into: none is chosen."""
    return SLOWEST * (FASTEST / SLOWEST) ** ((stratum + rng.random()) / strata)


def sensor(rng: np.random.Generator) -> EmulatorConfig:
    """A pixel to learn from: a third of the time a preset, else one drawn at random."""
    seed = int(rng.integers(2**31))
    if rng.random() < 1 / 3:
        return PRESETS[str(rng.choice(["ideal", "clean", "noisy"]))].model_copy(update={"seed": seed})
    theta = float(rng.uniform(0.12, 0.4))
    cutoff_hz = float(rng.choice([0, 30, 100, 300]))
    return EmulatorConfig(
        theta_on=theta, theta_off=theta * float(rng.uniform(0.7, 1.4)), theta_sigma=float(rng.uniform(0, 0.06)),
        cutoff_hz=cutoff_hz, leak_hz=float(rng.uniform(0, 0.3)), shot_hz=float(rng.uniform(0, 8)),
        refractory_us=int(rng.choice([0, 200, 1000])), seed=seed,
    )  # fmt: skip


def with_specks(take: Take, n: int, rng: np.random.Generator) -> Take:
    """A take with some events at random before anything moves: a sensor without noise, too, has run for long."""
    scene = take.scene
    t = np.concatenate([[0], np.sort(rng.integers(0, take.start_us, n - 1)), take.t])
    order = np.argsort(t, kind="stable")
    x = np.concatenate([rng.integers(0, scene.width, n).astype(np.uint16), take.x])[order]
    y = np.concatenate([rng.integers(0, scene.height, n).astype(np.uint16), take.y])[order]
    p = np.concatenate([rng.random(n) < 0.5, take.p])[order]
    layer = np.concatenate([np.full(n, NO_LAYER, np.int8), take.layer])[order]
    return Take(t[order], x, y, p, layer, scene, take.start_us)


def _other(movement: Movement, rng: np.random.Generator) -> Movement:
    """A movement of similar speed in quite another direction."""
    turn, factor = rng.uniform(math.pi / 3, 5 * math.pi / 3), math.exp(rng.uniform(-0.3, 0.7))
    return Movement(
        factor * (movement.vx * math.cos(turn) - movement.vy * math.sin(turn)),
        factor * (movement.vx * math.sin(turn) + movement.vy * math.cos(turn)),
    )


def texture(
    images: Sequence[Image],
    contrast: float,
    movement: Movement,
    rng: np.random.Generator,
    blur_px: float = 0.0,
) -> Layer:
    """A picture that is everywhere."""
    return Layer(_picture(images, contrast, _CANVAS, rng, blur_px), None, (-130.0, -150.0), movement)


def _picture(
    images: Sequence[Image], contrast: float, side: int, rng: np.random.Generator, blur_px: float = 0.0
) -> Image:
    """A part of one of the images."""
    image = images[int(rng.integers(len(images)))]
    zoom = math.exp(rng.uniform(math.log(0.4), math.log(1.6)))
    return textured(image, contrast, zoom, rng.uniform(0, 2 * math.pi), side, rng, blur_px)


def _disc(
    images: Sequence[Image],
    contrast: float,
    movement: Movement,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Layer:
    """A round picture, with a radius of 20 to 36 px."""
    radius = rng.uniform(20, 36)
    points = [(radius * math.cos(k * math.pi / 24), radius * math.sin(k * math.pi / 24)) for k in range(48)]
    return _thing(_picture(images, contrast, _SIDE, rng), points, movement, size, rng)


def _thing(
    log: Image, points: Sequence[tuple[float, float]], movement: Movement, size: tuple[int, int],
    rng: np.random.Generator,
) -> Layer:  # fmt: skip
    """A polygon somewhere in the view, that comes back in on the other side where it leaves it."""
    margin = max(math.hypot(*point) for point in points) + 4
    wrap = (-margin - _SIDE / 2, -margin - _SIDE / 2, size[0] + 2 * margin, size[1] + 2 * margin)
    at = rng.uniform(0.2, 0.8) * size[0] - _SIDE / 2, rng.uniform(0.2, 0.8) * size[1] - _SIDE / 2
    return Layer(log, polygon(points, _SIDE), at, movement, wrap)


def _half(images: Sequence[Image], contrast: float, movement: Movement, rng: np.random.Generator) -> Layer:
    """A picture in front of another, with an edge through the middle of the view that lies along its movement."""
    layer = texture(images, contrast, movement, rng)
    angle = math.atan2(movement.vy, movement.vx)
    y, x = np.mgrid[:_CANVAS, :_CANVAS].astype(np.float64)
    across = -(x - WIDTH / 2 - 130) * math.sin(angle) + (y - HEIGHT / 2 - 150) * math.cos(angle)
    mask = np.clip(across + 0.5, 0, 1).astype(np.float32)
    return Layer(layer.log, mask, layer.at, movement, still_mask=True)


def shape(
    kind: str, contrast: float, movement: Movement, size: tuple[int, int], rng: np.random.Generator
) -> Layer:
    """A bar, triangle or square of one intensity, brighter or darker than what is behind it."""
    if kind == "two shapes":
        kind = str(rng.choice(["triangle", "square"]))
    if kind == "bar":
        long, wide, turn = rng.uniform(80, 120), rng.uniform(3, 10), rng.uniform(0, 2 * math.pi)
        # A bar that slides along itself shows its ends alone, and tells no more than a point does.
        along = math.atan2(movement.vy, movement.vx)
        while abs(math.sin(turn - along)) < 0.35:
            turn = rng.uniform(0, 2 * math.pi)
        corners = [(-long, -wide), (long, -wide), (long, wide), (-long, wide)]
        points = [(x / 2, y / 2) for x, y in corners]
    else:
        sides, turn, radius = (
            (3 if kind == "triangle" else 4),
            rng.uniform(0, 2 * math.pi),
            rng.uniform(14, 28),
        )
        steps = [2 * math.pi * k / sides for k in range(sides)]
        points = [(radius * math.cos(step), radius * math.sin(step)) for step in steps]
    points = [
        (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in points
    ]
    log = GREY + contrast * (1 if rng.random() < 0.5 and contrast < 1.0 else -1)
    return _thing(flat(_SIDE, log), points, movement, size, rng)
