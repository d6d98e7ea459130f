"""What a motion detector sees of slow video: ``python -m tests.benchmarks.slow_video [RATE...]``.

A texture moves in six directions at three speeds, filmed at four frame rates into lossless video files, and goes
through the preset ``motion`` with frame interpolation off and auto. A direction counts as found where the
confidence-weighted mean of the motion field lies within 30 degrees of it and two thirds of the detections within 45.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from pipeline.offline import engine_for, steps
from pipeline.packets import UNRELIABLE
from pipeline.sources import VideoOptions, open_source
from pipeline.spec import load

SPEEDS = (0.25, 0.4, 0.63)
RATES = (25, 50, 100, 1000)
DIRECTIONS = (0, 60, 120, 180, 240, 300)
SIZE, SECONDS, SIDE = (192, 144), 0.4, 1024


def texture(seed=3):
    """Blobs of a few pixels and larger ones, periodic, so that it can be moved as far as one likes."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)))
    made = np.zeros((SIDE, SIDE))
    for sigma, weight in ((2.0, 0.8), (5.0, 0.6), (14.0, 0.5)):
        blobs = np.fft.irfft2(spectrum * np.exp(-2 * (np.pi * sigma * frequency) ** 2))
        made += weight * blobs / blobs.std()
    return np.clip(110 + 28 * made, 20, 230).astype(np.float32)


def film(path, scene, speed, direction, rate):
    vx, vy = speed * math.cos(math.radians(direction)), speed * math.sin(math.radians(direction))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), rate, SIZE)
    x, y = np.meshgrid(np.arange(SIZE[0], dtype=np.float32), np.arange(SIZE[1], dtype=np.float32))
    for i in range(round(SECONDS * rate) + 1):
        ms = i * 1000 / rate
        seen = cv2.remap(
            scene, np.float32((x - vx * ms) % SIDE), np.float32((y - vy * ms) % SIDE), cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_WRAP,
        )  # fmt: skip
        writer.write(cv2.cvtColor(np.clip(np.rint(seen), 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR))
    writer.release()


def watch(path, direction, interpolation):
    started = time.process_time()
    source = open_source(path, video=VideoOptions(interpolation=interpolation))
    engine = engine_for(source, load("motion"))
    rows = {name: [] for name in engine.rows}
    for step in steps(engine, source):
        for result in step.results:
            rows[result.output].append(result.rows)
    field, motion = np.concatenate(rows["field"]), np.concatenate(rows["motion"])
    seconds = time.process_time() - started
    labels = np.radians([label.direction_deg for label in engine.graph.outputs["motion"].labels])
    off = np.abs(np.angle(np.exp(1j * (labels[motion["label"]] - math.radians(direction)))))
    weight = field["confidence"].astype(float)
    total = max(float(weight.sum()), 1e-9)
    vx, vy = float((weight * field["vx"]).sum() / total), float((weight * field["vy"]).sum() / total)
    error = math.degrees(math.remainder(math.atan2(vy, vx) - math.radians(direction), 2 * math.pi))
    close = float((off <= math.radians(45)).mean()) if len(off) else 0.0
    return {
        "direction": direction, "error_deg": round(error, 1), "close": round(close, 3),
        "speed": round(math.hypot(vx, vy), 3), "found": abs(error) <= 30 and close >= 2 / 3,
        "unreliable": round(float((field["flags"] & UNRELIABLE > 0).mean()) if len(field) else 0.0, 3),
        "not_followed": source.info.details.get("motion_not_followed", 0),
        "inserted": source.info.details.get("frames_inserted", 0), "seconds": round(seconds, 2),
    }  # fmt: skip


def table(rates=RATES):
    scene, rows = texture(), []
    with TemporaryDirectory() as folder:
        for speed in SPEEDS:
            for rate in rates:
                path = Path(folder) / "clip.avi"
                found = {"off": [], "auto": []}
                for direction in DIRECTIONS:
                    film(path, scene, speed, direction, rate)
                    for mode, answers in found.items():
                        answers.append(watch(path, direction, mode))
                rows.append({"speed": speed, "rate": rate, **found})
    return rows


def show(rows):
    print(
        "| px/ms | frames/s | px a frame | off | auto | speed found, auto | unreliable, off / auto | not followed |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        off, auto = row["off"], row["auto"]
        right = [one["speed"] for one in auto if one["found"]]
        doubtful = [np.mean([one["unreliable"] for one in answers]) for answers in (off, auto)]
        print(
            f"| {row['speed']} | {row['rate']} | {1000 * row['speed'] / row['rate']:.1f} "
            f"| {sum(one['found'] for one in off)} of 6 | {sum(one['found'] for one in auto)} of 6 "
            f"| {np.mean(right) if right else 0:.2f} | {doubtful[0]:.0%} / {doubtful[1]:.0%} "
            f"| {sum(one['not_followed'] for one in auto)} |"
        )


if __name__ == "__main__":
    show(table([int(rate) for rate in sys.argv[1:]] or RATES))
