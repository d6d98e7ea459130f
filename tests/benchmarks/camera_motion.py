"""What the camera does and what moves by itself, against known motion: ``python -m tests.benchmarks.camera_motion [--write]``.

216 rendered scenes, some 4 minutes on two cores: a pan, a rotation, a zoom, an approach at constant speed, and a camera that
pans past a square or a textured disc that moves by itself; of images that nothing was learned from, through the stages of the
preset ``egomotion``. ``--write`` puts the tables into docs/motion.md.
"""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from pipeline.engine import Engine
from pipeline.graph import Graph
from pipeline.sensor import Sensor
from pipeline.sources.emulator import PRESETS
from pipeline.spec import preset
from pipeline.stages.looming import Looming
from pipeline.training.field import scores
from pipeline.training.rendering import images, random_scenes
from pipeline.training.rendering.scenes import film
from tests.benchmarks.pages import write

MOVERS = ("camera and mover", "textured mover")
KINDS = ("texture", "rotation", "zoom", "approach", *MOVERS)
STRATA = 12
LONG = 5
"""Windows for which half of a thing must have been in the view, for anybody to ask whether it was found."""
SENSORS = ("ideal", "clean", "noisy")
SEED = 40_000
OUTPUTS = ("field", "camera", "alarm", "movers")
AGE_MS, CONTACT_MS = (getattr(Looming(id="alarm"), name) / 1000 for name in ("age_us", "contact_within_us"))
DUE, EARLY = 1.3, 0.7
"""An alarm is due where the time to contact is so much shorter than it asks for, and false where it is so much longer."""


def scene_of(number, seed=SEED):
    """(kind, speed, sensor, take) of a scene."""
    kind, rest = KINDS[number % len(KINDS)], number // len(KINDS)
    name = SENSORS[rest // STRATA % len(SENSORS)]
    rng = np.random.default_rng([seed, number])
    speed = random_scenes.tested_speed(rest % STRATA, STRATA, rng)
    contrast = math.exp(rng.uniform(math.log(0.35), math.log(1.4)))
    scene = random_scenes.scene(
        kind, speed, rng.uniform(0, 2 * math.pi), contrast, images.load(images.HELD_OUT), rng, max(200.0, min(700.0, 60 / speed)),
    )  # fmt: skip
    return kind, speed, name, film(scene, PRESETS[name].model_copy(update={"seed": number}))


def answers(take):
    """Rows by output, after the first moments."""
    sensor = Sensor(width=take.scene.width, height=take.scene.height)
    engine = Engine(Graph(preset("egomotion"), sensor))
    found = engine.feed((take.t, take.x, take.y, take.p)) + engine.end()
    wait_us = 1000 * max(scores.WAIT_MS, scores.WAIT_PX / take.scene.speed)
    return {
        name: np.concatenate([one.rows[one.rows["t"] > wait_us] for one in found if one.output == name])
        for name in OUTPUTS
    }


def true_camera(take, ms):
    """(vx, vy, zoom, rotation) of the picture at the middle of the view, px/ms and 1/ms."""
    scene = take.scene
    movement = scene.layers[0].movement
    vx, vy = movement.velocity((scene.width - 1) / 2, (scene.height - 1) / 2, ms)
    return vx, vy, movement.zoom + 1 / (movement.contact_ms - ms), movement.rotation


def true_box(take, ms):
    """(share of it that is in the view, (left, top, right, bottom) of that) of the thing that moves."""
    layer, scene = take.scene.layers[-1], take.scene
    rows, columns = np.nonzero(layer.mask > 0.5)
    matrix = layer.matrix(ms)
    corners = matrix @ np.stack([columns, rows, np.ones(len(rows))])
    inside = (corners[0] >= 0) & (corners[0] < scene.width) & (corners[1] >= 0) & (corners[1] < scene.height)
    if not inside.any():
        return 0.0, (0.0, 0.0, 0.0, 0.0)
    x, y = corners[:, inside]
    return float(inside.mean()), (x.min(), y.min(), x.max(), y.max())


def measured(number):
    kind, speed, name, take = scene_of(number)
    found = answers(take)
    windows = np.unique(found["field"]["t"]).tolist()
    camera, told = [], 0
    for row in found["camera"]:
        vx, vy, zoom, rotation = true_camera(take, float(row["t"]) / 1000 - 10)
        camera.append(
            (
                row["vx"],
                row["vy"],
                row["zoom"] / 1000,
                row["rotation"] / 1000,
                vx,
                vy,
                zoom,
                rotation,
                row["confidence"],
            )
        )
    seen = hit = false = 0
    for t in windows:
        boxes = [
            (r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"])
            for r in found["movers"][found["movers"]["t"] == t]
        ]
        told += len(boxes) > 0
        share, truth = true_box(take, t / 1000 - 10) if kind in MOVERS else (0.0, None)
        meets = [
            share > 0 and a[0] < truth[2] and truth[0] < a[2] and a[1] < truth[3] and truth[1] < a[3]
            for a in boxes
        ]
        seen += share >= 0.5
        hit += share >= 0.5 and any(meets)
        false += sum(not one for one in meets)
    due = told_alarms = false_alarms = 0
    alarms = set(found["alarm"]["t"].tolist())
    for t in windows:
        rate = true_camera(take, t / 1000 - 10)[2] * CONTACT_MS
        due += rate >= DUE
        told_alarms += rate >= DUE and t in alarms
        false_alarms += rate <= EARLY and t in alarms
    return {"kind": kind, "speed": speed, "sensor": name, "camera": np.array(camera).reshape(-1, 9), "windows": len(windows),
            "seen": seen, "hit": hit, "false": false, "told": told, "due": due, "told_alarms": told_alarms,
            "false_alarms": false_alarms}  # fmt: skip


def camera_error(one):
    """Per window: relative error of what moves (pan: end-point; zoom and rotation: the rate), and degrees of pans."""
    c = one["camera"]
    if one["kind"] in {"texture", *MOVERS}:
        speed, true = np.hypot(c[:, 0], c[:, 1]), np.hypot(c[:, 4], c[:, 5])
        turn = np.degrees(np.arctan2(c[:, 1], c[:, 0]) - np.arctan2(c[:, 5], c[:, 4]))
        return np.abs(speed / true - 1), np.abs((turn + 180) % 360 - 180)
    column = 3 if one["kind"] == "rotation" else 2
    return np.abs(c[:, column] / c[:, 4 + column] - 1), np.empty(0)


def tables(found):
    lines = [
        "| scenes | how many | windows answered | error of speed or rate: median / 90 % | direction, degrees: median / 90 % | "
        "time to contact, error: median / 90 % |",
        "|---|---|---|---|---|---|",
    ]
    for sensors in (("ideal", "clean"), ("noisy",)):
        for kind in KINDS:
            own = [one for one in found if one["kind"] == kind and one["sensor"] in sensors]
            if not own:
                continue
            errors = [camera_error(one) for one in own]
            rate, turn = (np.concatenate([error[i] for error in errors]) for i in range(2))
            answered = sum(len(one["camera"]) for one in own) / max(1, sum(one["windows"] for one in own))
            contact = np.concatenate(
                [one["camera"][:, 6] * (1 / np.maximum(one["camera"][:, 2], 1e-9) - AGE_MS) for one in own]
            )
            far = np.abs(contact - 1)
            lines.append(
                f"| {kind}, {' and '.join(f'`{name}`' for name in sensors)} | {len(own)} | {answered:.0%} | "
                f"{np.median(rate):.1%} / {np.percentile(rate, 90):.0%} | "
                + (f"{np.median(turn):.1f} / {np.percentile(turn, 90):.1f} | " if len(turn) else "| ")
                + (f"{np.median(far):.0%} / {np.percentile(far, 90):.0%} |" if kind == "approach" else "|")
            )
    lines += [
        "", "| movers | scenes | found in | windows with it | false ones, a window | scenes with false ones |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for sensors in (("ideal", "clean"), ("noisy",)):
        titles = ("a camera and a square", "a camera and a textured disc", "a camera alone")
        for kinds, title in zip((MOVERS[:1], MOVERS[1:], KINDS[:4]), titles, strict=True):
            own = [
                one
                for one in found
                if one["kind"] in kinds and one["sensor"] in sensors and one["windows"] > 0
            ]
            if not own:
                continue
            there = [one for one in own if one["seen"] >= LONG]
            lines.append(
                f"| {title}, {' and '.join(f'`{name}`' for name in sensors)} | {len(own)} | "
                + (f"{np.mean([one['hit'] > 0 for one in there]):.0%} | {sum(one['hit'] for one in there) / sum(one['seen'] for one in there):.0%}"
                   if there else "| ")
                + f" | {sum(one['false'] for one in own) / sum(one['windows'] for one in own):.1%} | "
                f"{np.mean([one['false'] > 0 for one in own]):.0%} |"
            )  # fmt: skip
    return [*lines, "", *alarms(found), ""]


def alarms(found):
    """Of ``looming``: told where a contact is near, and where none is."""
    lines = [
        "| alarm `looming` | scenes | windows in which it is due | told in | other windows | told in | in how many scenes |",
        "|---|---|---|---|---|---|---|",
    ]
    for sensors in (("ideal", "clean"), ("noisy",)):
        for kind in KINDS:
            own = [one for one in found if one["kind"] == kind and one["sensor"] in sensors]
            due, told, false = (
                sum(one[name] for one in own) for name in ("due", "told_alarms", "false_alarms")
            )
            others = sum(one["windows"] for one in own) - due
            lines.append(
                f"| {kind}, {' and '.join(f'`{name}`' for name in sensors)} | {len(own)} | {due or ''} | "
                f"{f'{told / due:.0%}' if due else ''} | {others} | {false} | {sum(one['false_alarms'] > 0 for one in own)} |"
            )
    return lines


if __name__ == "__main__":
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        every = list(pool.map(measured, range(len(KINDS) * STRATA * len(SENSORS)), chunksize=2))
    made = tables(every)
    print(*made, sep="\n")
    if "--write" in sys.argv:
        write("motion.md", "camera", made)
