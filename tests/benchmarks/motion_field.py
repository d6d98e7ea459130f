"""Motion fields against known motion: ``python -m tests.benchmarks.motion_field [--write] [--scenes N] [PART...]``.

Parts: ``scenes`` (396 rendered ones, some 6 minutes on two cores; each is kept in ``out/motion_field`` and not made again),
``changes`` (what is told after a movement turns round, or stops), ``recordings`` (of the data folder). Scenes show images that neither banks nor readouts learned from; rows are those of the
presets, through the engine, of tiles on the moving thing, after 80 ms and 5 px. ``--write`` puts tables into docs/motion.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from kernels.motion.flow import Readout
from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.models import registry
from pipeline.packets import APERTURE
from pipeline.sensor import Sensor
from pipeline.sources.emulator import PRESETS
from pipeline.spec import preset, validate
from pipeline.training.field import scores
from pipeline.training.field.scores import Told
from pipeline.training.field.tile_windows import TILE, WINDOW_US, truth
from pipeline.training.rendering import images, random_scenes
from pipeline.training.rendering.scenes import NO_LAYER, Movement, film
from tests.benchmarks.motifs import DATA
from tests.benchmarks.pages import write

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "out" / "motion_field"
STRATA = 12
SENSORS = ("ideal", "clean", "noisy")
KINDS = (*random_scenes.KINDS, *random_scenes.CAMERA)
SCENES = len(KINDS) * STRATA * len(SENSORS)
SEED = 20_000
OLD = {
    "stages": [
        {"id": "clean", "kind": "background_activity", "window_us": 5000},
        {"id": "motion", "kind": "motif", "model": "motif8", "threshold": {"evidence": 1.0}},
        {"id": "field", "kind": "motion_field", "input": "motion.evidence", "tile": 16, "window_us": 20000},
    ],
    "outputs": ["field"],
}  # fmt: skip
"""The preset ``motion`` before ``optical_flow``."""


def pipelines():
    new = preset("motion").model_dump(mode="json", exclude_none=True)
    return {"now": validate({**new, "outputs": ["field"]}), "before": validate(OLD)}


def rows_of(spec, columns, sensor):
    engine = Engine(Graph(spec, sensor))
    parts = [result.rows for at in range(0, len(columns[0]), 50_000)
             for result in engine.feed(tuple(c[at : at + 50_000] for c in columns)) if result.output == "field"]  # fmt: skip
    parts += [result.rows for result in engine.end() if result.output == "field"]
    return np.concatenate(parts) if parts else np.empty(0)


def told(rows, take):
    """(rows beside the truth of their tiles, their flags), after the first moments."""
    scene = take.scene
    across, down = -(-scene.width // TILE), -(-scene.height // TILE)
    wait_ms = max(scores.WAIT_MS, scores.WAIT_PX / scene.speed)
    parts, silent = [], 0
    for end_us in range(WINDOW_US, take.start_us + int(scene.duration_ms * 1000) + 1, WINDOW_US):
        if end_us / 1000 - take.start_us / 1000 <= wait_ms:
            continue
        first, stop = np.searchsorted(take.t, (end_us - WINDOW_US, end_us))
        _, _, layer, vx, vy = truth(take, slice(first, stop), across, across * down)
        here = rows[rows["t"] == end_us]
        k = here["y"].astype(int) // TILE * across + here["x"].astype(int) // TILE
        known = layer[k] != NO_LAYER
        silent += int((layer != NO_LAYER).sum() - known.sum())
        own, k = here[known], k[known]
        parts.append((own["vx"], own["vy"], own["confidence"], vx[k], vy[k], own["flags"]))
    columns = (
        [np.concatenate(column).astype(float) for column in zip(*parts, strict=True)]
        if parts
        else [np.empty(0)] * 6
    )
    return Told(*columns[:5], silent), columns[5]


def scene_of(number):
    """(kind, speed, sensor, take) of a scene."""
    kind, rest = KINDS[number % len(KINDS)], number // len(KINDS)
    name = SENSORS[rest // STRATA % len(SENSORS)]
    rng = np.random.default_rng([SEED, number])
    speed = random_scenes.tested_speed(rest % STRATA, STRATA, rng)
    contrast = math.exp(rng.uniform(math.log(0.35), math.log(1.4)))
    scene = random_scenes.scene(
        kind, speed, rng.uniform(0, 2 * math.pi), contrast, images.load(images.HELD_OUT), rng,
        max(200.0, min(700.0, 60 / speed)),
    )  # fmt: skip
    return kind, speed, name, film(scene, PRESETS[name].model_copy(update={"seed": number}))


def measured(number):
    """Rows of every pipeline on a scene; made once for a state of the code."""
    path = KEPT / f"{number}-{fingerprint()}.npz"
    if not path.exists():
        kind, speed, name, take = scene_of(number)
        found = {}
        for which, spec in pipelines().items():
            started = time.process_time()
            rows = rows_of(
                spec,
                (take.t, take.x, take.y, take.p),
                Sensor(width=take.scene.width, height=take.scene.height),
            )
            one, flags = told(rows, take)
            found[which] = np.stack([one.vx, one.vy, one.mass, one.true_x, one.true_y])
            found[f"{which}_flags"] = flags
            found[f"{which}_more"] = np.array([one.silent, time.process_time() - started, len(take.t)])
        part = path.with_suffix(".part.npz")
        part.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, about=np.array([kind, f"{speed:.4g}", name]), **found)
        part.replace(path)
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}


def fingerprint():
    readout = registry.load_readout("flow36")
    text = json.dumps([spec.model_dump(mode="json") for spec in pipelines().values()]) + readout.digest
    return hashlib.sha256((text + str(Readout._fields)).encode()).hexdigest()[:12]


def table(found, which):
    def row(title, chosen):
        parts = [
            Told(*one[which], int(one[f"{which}_more"][0])) for one in chosen if one[which].shape[1] or True
        ]
        seen = scores.summary(scores.joined(parts)) if parts else {"rows": 0}
        if not seen["rows"]:
            return f"| {title} | {len(parts)} | | | | | | |"
        whole = scores.joined(parts)
        scenes = [np.median(one.degrees) for one in parts if len(one.vx)]
        return (
            f"| {title} | {len(parts)} | {seen['answered']:.0%} | {seen['degrees']:.1f} / {seen['degrees_90']:.0f} | "
            f"{np.mean(whole.degrees > 60):.1%} | x {seen['speed']:.2f}, {seen['within_30']:.0%} | "
            f"{seen['end_point']:.2f} | {np.median(scenes):.1f} / {np.percentile(scenes, 90):.0f} / {max(scenes):.0f} |"
        )

    lines = [
        "| scenes | how many | tiles answered | direction, degrees: median / 90 % | over 60 degrees | speed: median, "
        "within 30 % | end-point error | scenes: median / 90 % / worst, degrees |",
        "|---|---|---|---|---|---|---|---|",
    ]
    quiet = [one for one in found if one["about"][2] != "noisy"]
    lines.append(row("all, sensors `ideal` and `clean`", quiet))
    lines.append(row("all, sensor `noisy`", [one for one in found if one["about"][2] == "noisy"]))
    for kind in KINDS:
        lines.append(row(f"{kind}, `ideal` and `clean`", [one for one in quiet if one["about"][0] == kind]))
    for low, high in ((0.02, 0.06), (0.06, 0.2), (0.2, 0.6), (0.6, 2), (2, 4)):
        some = [one for one in quiet if low <= float(one["about"][1]) < high]
        lines.append(row(f"{low:g} to {high:g} px/ms, `ideal` and `clean`", some))
    return lines


def reliability(found):
    """Confidence and what came of it."""
    whole = scores.joined([Told(*one["now"], 0) for one in found])
    right = whole.right.astype(float)
    lines = ["| confidence | share of rows | within 15 degrees and 20 % of speed |", "|---|---|---|"]
    for low in np.arange(0, 1, 0.1):
        own = (whole.mass >= low) & (whole.mass < low + 0.1 + (low > 0.85))
        if own.any():
            lines.append(f"| {low:.1f} to {low + 0.1:.1f} | {own.mean():.1%} | {right[own].mean():.0%} |")
    error = scores.calibration_error(whole.mass, right)
    return [*lines, "", f"Expected calibration error: {error:.3f}."]


def asked_to_be_sure(found):
    """What a user gets who takes rows from a confidence on."""
    lines = [
        "| confidence at least | sensors | tiles answered | direction, degrees: median / 90 % | over 60 degrees | speed "
        "within 30 % |",
        "|---|---|---|---|---|---|",
    ]
    for least in (0, 0.2, 0.4, 0.6, 0.8):
        for title, is_noisy in (("`ideal`, `clean`", False), ("`noisy`", True)):
            parts = [one for one in found if (one["about"][2] == "noisy") == is_noisy]
            whole = scores.joined([Told(*one["now"], int(one["now_more"][0])) for one in parts])
            kept = whole.mass >= least
            degrees, factor = whole.degrees[kept], whole.factor[kept]
            lines.append(
                f"| {least:g} | {title} | {kept.sum() / (len(kept) + whole.silent):.0%} | "
                f"{np.median(degrees):.1f} / {np.percentile(degrees, 90):.0f} | {np.mean(degrees > 60):.1%} | "
                f"{np.mean((factor > 1 / 1.3) & (factor < 1.3)):.0%} |"
            )
    return lines


def apertures(found):
    """What `aperture` says where movement along an edge is unknown, and elsewhere."""
    lines = [
        "| scenes, `ideal` and `clean` | confidence 0.7 and more | of these wrong by over 30 degrees | of those flagged `aperture` | "
        "of all right rows flagged |",
        "|---|---|---|---|---|",
    ]
    for kind in ("bar", random_scenes.SMOOTH, "triangle", "texture"):
        own = [one for one in found if one["about"][0] == kind and one["about"][2] != "noisy"]
        whole = scores.joined([Told(*one["now"], 0) for one in own])
        flagged = (np.concatenate([one["now_flags"] for one in own]).astype(int) & APERTURE) > 0
        sure = whole.mass >= 0.7
        wrong = sure & (whole.degrees > 30)
        lines.append(
            f"| {kind} | {np.mean(sure):.0%} | {np.mean(wrong[sure]):.0%} | {np.mean(flagged[wrong]):.0%} | "
            f"{np.mean(flagged[whole.right]):.0%} |"
        )
    return lines


def scenes(n=SCENES):
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = []
        for one in pool.map(measured, range(n), chunksize=2):
            found.append(one)
            print(f"\r{len(found)} of {n} scenes", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [
        "Now (`motion`):", "", *table(found, "now"), "", "Before (`motif8`, votes):", "", *table(found, "before"), "",
        *reliability(found), "", *asked_to_be_sure(found), "", *apertures(found), "",
    ]  # fmt: skip


TURN_MS, AFTER_MS = 300, (20, 40, 60, 80, 100, 140, 200)


def turned(speed, seed, stops):
    """Rows of a texture that turns round after so long, or stops under noise; from then on, us, and the way before."""
    rng = np.random.default_rng([SEED, 7, seed])
    angle, sensor = rng.uniform(0, 2 * math.pi), PRESETS["clean"].model_copy(update={"seed": seed})
    first = random_scenes.scene("texture", speed, angle, 1.0, images.load(images.HELD_OUT), rng, TURN_MS)
    layer, way = first.layers[0], first.layers[0].movement
    x, y = layer.at[0] + way.vx * TURN_MS, layer.at[1] + way.vy * TURN_MS
    then = Movement() if stops else Movement(-way.vx, -way.vy)
    if stops:
        sensor = sensor.model_copy(update={"shot_hz": 10.0})
    second = replace(first, layers=(replace(layer, at=(x, y), movement=then),))
    takes = film(first, sensor), film(second, sensor)
    columns = [np.concatenate([getattr(take, name) for take in takes]) for name in "txyp"]
    columns[0][len(takes[0].t) :] += TURN_MS * 1000
    return rows_of(pipelines()["now"], tuple(columns), Sensor(width=first.width, height=first.height)), way


def changes():
    lines = [
        "| | px/ms | " + " | ".join(f"{ms} ms" for ms in AFTER_MS) + " |",
        "|---|---|" + "---|" * len(AFTER_MS),
    ]
    for stops in (False, True):
        for speed in (0.05, 0.1, 0.3, 1.0):
            parts = [turned(speed, seed, stops) for seed in range(4)]
            cells = []
            for ms in AFTER_MS:
                old, new, n = 0, 0, 0
                for rows, way in parts:
                    own = rows[rows["t"] == (TURN_MS + ms) * 1000]
                    along = own["vx"] * way.vx + own["vy"] * way.vy
                    fast = np.hypot(own["vx"], own["vy"]) > speed / 2
                    sure = own["confidence"] >= 0.7
                    old, new = (
                        old + int((sure & fast & (along > 0)).sum()),
                        new + int((sure & (along < 0)).sum()),
                    )
                    n += len(own)
                cells.append(f"{old / n:.0%}" + ("" if stops else f", {new / n:.0%}") if n else "")
            what = "stops, 10 noise events a second and pixel" if stops else "turns round"
            lines.append(f"| {what} | {speed:g} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def recordings():
    """``davis240_tilt``: the whole picture moves at (0, -0.03) px/ms."""
    with np.load(DATA / "recordings" / "davis240_tilt.npz") as kept:
        columns = tuple(np.ascontiguousarray(kept[name]) for name in "txyp")
    t, x, y, p = columns
    columns = (t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p > 0)
    lines = [
        "| recording | pipeline | tile rows | direction, degrees: median / 90 % | speed: median, within 30 % |",
        "|---|---|---|---|---|",
    ]
    for which, spec in pipelines().items():
        rows = rows_of(spec, columns, Sensor(width=240, height=180))
        rows = rows[rows["t"] > columns[0][0] + 200_000]
        n = len(rows)
        one = Told(
            rows["vx"].astype(float),
            rows["vy"].astype(float),
            rows["confidence"],
            np.zeros(n),
            np.full(n, -0.03),
            0,
        )
        seen = scores.summary(one)
        lines.append(
            f"| davis240_tilt | {which} | {n:,} | {seen['degrees']:.1f} / {seen['degrees_90']:.0f} | "
            f"x {seen['speed']:.2f}, {seen['within_30']:.0%} |"
        )
    return [*lines, ""]


PARTS = {"scenes": scenes, "changes": changes, "recordings": recordings}

if __name__ == "__main__":
    for part in [one for one in sys.argv[1:] if one in PARTS] or list(PARTS):
        many = (
            int(sys.argv[sys.argv.index("--scenes") + 1])
            if "--scenes" in sys.argv and part == "scenes"
            else None
        )
        made = PARTS[part](many) if many else PARTS[part]()
        print(f"## {part}\n", *made, sep="\n", flush=True)
        if "--write" in sys.argv:
            write("motion.md", part, made)
