"""Scenes drawn at random: what a motion field learns from, and what it is tested on.

Kinds: a texture that fills the view, a long bar, a triangle, a square, two shapes or two textures that move in
opposite directions. Speeds are uniform in their logarithm. Contrast is the span of log intensity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.sources.emulator import PRESETS, EmulatorConfig
from pipeline.training.images import Image
from pipeline.training.scenes import (
    GREY,
    NO_LAYER,
    Layer,
    Movement,
    Scene,
    Take,
    flat,
    polygon,
    textured,
)

CAMERA = ("rotation", "zoom", "camera and mover")
"""Further kinds, to test on: a texture that turns or grows about the middle, one that passes behind a shape."""
APPROACH = "approach"
"""One more: a texture that a camera nears at a constant speed, and would reach."""
KINDS = ("texture", "bar", "triangle", "square", "two shapes", "two textures")
_SHARES = (0.28, 0.2, 0.1, 0.1, 0.16, 0.16)
WIDTH, HEIGHT = 160, 120
_TRAVEL_PX, _SHORTEST_MS, _LONGEST_MS = 60.0, 90.0, 700.0
_CANVAS = 420


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
    elif kind == "texture":
        layers = [texture(images, contrast, movement, rng)]
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
    kind = str(rng.choice(KINDS, p=_SHARES))
    speed = math.exp(rng.uniform(math.log(slowest), math.log(fastest)))
    contrast = math.exp(rng.uniform(math.log(0.35), math.log(1.4)))
    return scene(kind, speed, rng.uniform(0, 2 * math.pi), contrast, images, rng)


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


def texture(images: Sequence[Image], contrast: float, movement: Movement, rng: np.random.Generator) -> Layer:
    """A picture that is everywhere."""
    image = images[int(rng.integers(len(images)))]
    zoom = math.exp(rng.uniform(math.log(0.4), math.log(1.6)))
    log = textured(image, contrast, zoom, rng.uniform(0, 2 * math.pi), _CANVAS, rng)
    return Layer(log, None, (-130.0, -150.0), movement)


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
    side = 132
    log = GREY + contrast * (1 if rng.random() < 0.5 and contrast < 1.0 else -1)
    margin = max(math.hypot(*point) for point in points) + 4
    wrap = (-margin - side / 2, -margin - side / 2, size[0] + 2 * margin, size[1] + 2 * margin)
    at = rng.uniform(0.2, 0.8) * size[0] - side / 2, rng.uniform(0.2, 0.8) * size[1] - side / 2
    return Layer(flat(side, log), polygon(points, side), at, movement, wrap)
