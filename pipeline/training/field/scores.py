"""How good a field is on scenes of known motion, tile by tile; and what its confidence is worth."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from kernels.columns import F64, I64
from kernels.motifs.taps import Taps
from kernels.motion import flow
from pipeline.models import registry
from pipeline.models.bundle import ModelError
from pipeline.models.flow_readout import sureness
from pipeline.models.motif_bank import MotifBank
from pipeline.sources.emulator import PRESETS
from pipeline.training.field.tile_windows import LEAST, TILE, windows
from pipeline.training.rendering import random_scenes
from pipeline.training.rendering.images import Image, load
from pipeline.training.rendering.scenes import NO_LAYER, Take, film, steady

STRATA = 9
SENSORS = ("ideal", "clean", "noisy")
STEADY_US = 20_000
"""Window of the filter in front, as in the presets."""
WAIT_MS, WAIT_PX = 80.0, 5.0
"""Rows count once a scene has moved for so long and so far."""
RIGHT_DEG, RIGHT_SPEED = 15.0, 0.2
"""What confidence is about."""


@dataclass(frozen=True)
class Told:
    """Rows of tiles whose motion is known.

    Attributes:
        vx: px/ms, of the field; so is ``vy``.
        vy: see above.
        mass: of the posterior.
        true_x: px/ms; so is ``true_y``.
        true_y: see above.
        silent: tiles with enough events and a known motion that did not answer.
    """

    vx: F64
    vy: F64
    mass: F64
    true_x: F64
    true_y: F64
    silent: int

    @property
    def degrees(self) -> F64:
        """Direction error."""
        apart = np.arctan2(self.vy, self.vx) - np.arctan2(self.true_y, self.true_x)
        return np.abs(np.degrees(np.arctan2(np.sin(apart), np.cos(apart))))

    @property
    def factor(self) -> F64:
        """Speed over the true one."""
        return np.hypot(self.vx, self.vy) / np.hypot(self.true_x, self.true_y)

    @property
    def end_point(self) -> F64:
        """|v - truth| over |truth|."""
        return np.hypot(self.vx - self.true_x, self.vy - self.true_y) / np.hypot(self.true_x, self.true_y)

    @property
    def right(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Within 15 degrees and 20 % of speed."""
        return (self.degrees <= RIGHT_DEG) & (np.abs(np.log(self.factor)) <= math.log1p(RIGHT_SPEED))


def joined(parts: Sequence[Told]) -> Told:
    """Several scenes' rows."""

    def all_of(name: str) -> F64:
        return np.concatenate([getattr(one, name) for one in parts])

    silent = sum(one.silent for one in parts)
    return Told(all_of("vx"), all_of("vy"), all_of("mass"), all_of("true_x"), all_of("true_y"), silent)


ALL = tuple(
    (kind, stratum, name)
    for kind in (*random_scenes.KINDS, *random_scenes.CAMERA)
    for stratum in range(STRATA)
    for name in SENSORS
)
"""The scenes of a set: kind, part of the range of speeds, sensor."""


def scene(number: int, pictures: Sequence[Image], seed: int) -> Take:
    """A scene of a set."""
    kind, stratum, name = ALL[number]
    rng = np.random.default_rng([seed, number])
    speed = random_scenes.tested_speed(stratum, STRATA, rng)
    contrast = math.exp(rng.uniform(math.log(0.35), math.log(1.4)))
    duration_ms = max(200.0, min(700.0, 60 / speed))
    made = random_scenes.scene(kind, speed, rng.uniform(0, 2 * math.pi), contrast, pictures, rng, duration_ms)
    return film(made, PRESETS[name].model_copy(update={"seed": number}))


def told_of_all(
    names: tuple[str, ...], seed: int, readout: flow.Readout, bank: str, progress: Callable[[float], None],
    threads: int | None,
) -> list[Told]:  # fmt: skip
    """What a readout says of every scene of a set, in order.

    Args:
        names: of the images that are shown.
        seed: of the set.
        readout: see :mod:`kernels.motion.flow`.
        bank: name of the motif bank.
        progress: is told the share that is done.
        threads: processes at a time.
    """
    what = ((number, names, seed, readout, bank) for number in range(len(ALL)))
    found = list[Told]()
    with ProcessPoolExecutor(threads or os.cpu_count(), get_context("spawn")) as pool:
        for one in pool.map(_told_of, what, chunksize=4):
            found.append(one)
            progress(len(found) / len(ALL))
    return found


def _told_of(what: tuple[int, tuple[str, ...], int, flow.Readout, str]) -> Told:
    number, names, seed, readout, bank = what
    loaded = registry.load_bank(bank)
    if not isinstance(loaded, MotifBank):
        raise ModelError(f"{bank} is no bank on the pixel grid")
    return told(scene(number, load(names), seed), readout, loaded.taps())


def told(take: Take, readout: flow.Readout, bank: Taps, every: int = 8) -> Told:
    """What a readout says of a scene, filtered as presets do, after the first moments."""
    take = steady(take, STEADY_US)
    scene = take.scene
    across = -(-scene.width // TILE)
    belief = flow.new_belief(across * -(-scene.height // TILE), len(readout.bias) * readout.angles)
    wait_ms, parts = max(WAIT_MS, WAIT_PX / scene.speed), list[Told]()
    for window in windows(take, bank, every):
        found = flow.advance(
            window.sums, window.rows, window.added, window.events, LEAST, belief, readout, across
        )
        end_ms = (window.number + 1) * 20.0 - take.start_us / 1000
        if end_ms <= wait_ms:
            continue
        known = window.layer[found.tile] != NO_LAYER
        k: I64 = found.tile[known]
        silent = int((window.layer != NO_LAYER).sum()) - len(k)
        parts.append(
            Told(found.vx[known], found.vy[known], found.mass[known], window.vx[k], window.vy[k], silent)
        )
    none = np.empty(0)
    return joined(parts) if parts else Told(none, none, none, none, none, 0)


def summary(rows: Told) -> dict[str, float | int]:
    """What tables say of rows."""
    n = len(rows.vx)
    if n == 0:
        return {"rows": 0, "silent": rows.silent}
    degrees, factor = rows.degrees, rows.factor
    return {
        "rows": n,
        "answered": round(n / (n + rows.silent), 3),
        "degrees": round(float(np.median(degrees)), 1),
        "degrees_90": round(float(np.percentile(degrees, 90)), 1),
        "over_60": round(float(np.mean(degrees > 60)), 4),
        "speed": round(float(np.median(factor)), 3),
        "within_30": round(float(np.mean((factor > 1 / 1.3) & (factor < 1.3))), 3),
        "end_point": round(float(np.median(rows.end_point)), 3),
    }


def calibration(mass: F64, right: F64, most: int = 24) -> list[tuple[float, float]]:
    """(sureness, share of such rows that are right), rising: isotonic regression (Barlow et al. 1972) by pooling."""
    sure = sureness(mass)
    order = np.argsort(sure, kind="stable")
    values, weights, places = list[float](), list[float](), list[float]()
    for block in np.array_split(order, min(most * 4, max(1, len(order) // 50))):
        values.append(float(right[block].mean()))
        weights.append(float(len(block)))
        places.append(float(sure[block].mean()))
        while len(values) > 1 and values[-2] >= values[-1]:
            total = weights[-2] + weights[-1]
            values[-2:] = [(values[-2] * weights[-2] + values[-1] * weights[-1]) / total]
            places[-2:] = [(places[-2] * weights[-2] + places[-1] * weights[-1]) / total]
            weights[-2:] = [total]
    points = [(round(place, 4), round(value, 4)) for place, value in zip(places, values, strict=True)]
    return [(0.0, points[0][1]), *points]


def calibration_error(confidence: F64, right: F64, bins: int = 10) -> float:
    """Expected calibration error: mean |share right - mean confidence| over equal bins of confidence."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        own = which == b
        if own.any():
            error += own.mean() * abs(float(right[own].mean()) - float(confidence[own].mean()))
    return error
