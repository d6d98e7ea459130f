"""What a gain is worth: ``python -m tests.benchmarks.gain [--write]``, a minute.

``motif36`` on 24 held-out textures at each of three contrasts, 0.25 px/ms, the pixel ``clean``: how many rows pass one threshold
of evidence, and how many of those are right within 45 degrees; as they are, and through ``gain``. After the first 1.5 s, three of
its time constants.
"""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from pipeline import packets
from pipeline.graph import Graph
from pipeline.models import registry
from pipeline.sensor import Sensor
from pipeline.sources.emulator import PRESETS
from pipeline.spec import validate
from pipeline.training.rendering import images, random_scenes
from pipeline.training.rendering.scenes import film
from tests.benchmarks.pages import write

CONTRASTS, SCENES, SPEED, AFTER_US = (0.35, 0.7, 1.4), 24, 0.25, 1_500_000
SPEC = {
    "stages": [
        {"id": "motion", "kind": "motif", "model": "motif36", "at": {"every": 8}},
        {"id": "even", "kind": "gain", "input": "motion.evidence"},
    ],
    "outputs": ["motion.evidence", "even"],
}


def measured(asked):
    """(winner's evidence before, after, whether it is right) of rows."""
    contrast, number = asked
    rng = np.random.default_rng([50_000, number])
    angle = rng.uniform(0, 2 * math.pi)
    scene = random_scenes.scene("texture", SPEED, angle, contrast, images.load(images.HELD_OUT), rng, 2500.0)
    take = film(scene, PRESETS["clean"].model_copy(update={"seed": number}))
    graph = Graph(validate(SPEC), Sensor(width=scene.width, height=scene.height))
    sent = graph.process(packets.events((take.t, take.x, take.y, take.p), int(take.t[-1])))
    plain, even = (next(packet for name, packet in sent if name == which) for which in SPEC["outputs"])
    late = plain.columns["t"] > AFTER_US
    before, after = plain.columns["evidence"][late], even.columns["evidence"][late]
    direction = np.radians([label.direction_deg for label in registry.load_bank("motif36").card.labels])
    turn = direction[before.argmax(axis=1)] - angle
    right = np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn)))) <= 45
    return before.max(axis=1), after.max(axis=1), right, len(take.t) / (scene.width * scene.height * 2.5)


def main():
    asked = [(contrast, number) for contrast in CONTRASTS for number in range(SCENES)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = list(pool.map(measured, asked))
    by = {
        c: [one for (contrast, _), one in zip(asked, found, strict=True) if contrast == c] for c in CONTRASTS
    }
    columns = {c: [np.concatenate([one[i] for one in own]) for i in range(3)] for c, own in by.items()}
    middle = columns[0.7]
    levels = [float(np.percentile(middle[i], 80)) for i in range(2)]  # a fifth passes at middle contrast
    lines = [
        "| contrast | events per pixel and second | pass, as it is | right of these | pass, through `gain` | right of these |",
        "|---|---|---|---|---|---|",
    ]
    for contrast, own in columns.items():
        rate = np.mean([one[3] for one in by[contrast]])
        cells = [
            f"{np.mean(own[i] >= levels[i]):.0%} | {own[2][own[i] >= levels[i]].mean():.0%}" for i in range(2)
        ]
        lines.append(f"| {contrast:g} | {rate:.0f} | {' | '.join(cells)} |")
    print(*lines, sep="\n")
    print(
        f"winners at middle contrast: mean {middle[0].mean():.2f}, deviation {middle[0].std():.2f}; thresholds {levels}"
    )
    if "--write" in sys.argv:
        write("motifs.md", "gain", [*lines, ""])


if __name__ == "__main__":
    main()
