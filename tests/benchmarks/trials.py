"""Trials beyond the protocol that a bank is trained by: Motion Clouds, DVS pixels, motion that switches."""

from __future__ import annotations

import math

import numpy as np

from pipeline.sources.emulator import PRESETS, Emulator
from pipeline.training.motifs import evaluation
from pipeline.training.rendering import clouds, saccades
from pipeline.training.rendering.movies import Movie


def cloud_trials(maker, seed, orientation):
    """Trial i: a Motion Cloud whose stripes lie across the motion, or anywhere (``random``)."""

    def make(i):
        truth = i % len(maker.labels)
        rng = np.random.default_rng([seed, 11, i])
        vx, vy = maker.config.rings.velocity[truth]
        theta = math.atan2(vy, vx) if orientation == "across" else rng.uniform(0, math.pi)
        return clouds.movie(vx, vy, theta, truth, clouds.Cloud(), rng), truth

    return make


def dvs_trials(maker, seed, preset="noisy", size=128, bins=200):
    """Trial i: a held-out image that moves under a DVS pixel of our emulator; a frame each ms."""

    def make(i):
        truth = i % len(maker.labels)
        rng = np.random.default_rng([seed, 12, i])
        image = maker.image(rng, "held_out")
        vx, vy = maker.config.rings.velocity[truth]
        path = np.arange(bins + 1)[:, None] * np.array([vx, vy])
        margin = 8
        side = size + math.ceil(float(np.ptp(path, axis=0).max())) + 2 * margin
        texture = saccades.cut(image, -(-side // 16) * 16, saccades.View(), rng)
        high = path.max(axis=0)
        left, top = ((high[k] - path[:, k]) + margin for k in (0, 1))
        frames = evaluation_frames(texture, top, left, size)
        config = PRESETS[preset].model_copy(update={"seed": i})
        emulator = Emulator(config, size, size)
        parts = [emulator.feed(frame, k * 1e-3) for k, frame in enumerate(frames)]
        t, x, y, p = (np.concatenate(c) for c in zip(*parts, strict=True))
        order = np.argsort(t, kind="stable")
        order = order[t[order] < bins * 1000]
        return Movie((t[order], x[order], y[order], p[order]), np.full(bins, truth), size, size), truth

    return make


def evaluation_frames(texture, top, left, size):
    from kernels.learning import scan

    return np.clip(scan.slide(texture, top, left, size), 0, 255)


def switching(bank, maker, seed, n, every=evaluation.EVERY):
    """Share of the milliseconds whose answer is right while the class is drawn anew with probability 1/24.

    The answer of a bin is the class with the largest mean evidence over the surest 15 % of its voxels.
    """
    right = total = 0
    after = np.zeros((2, 60))
    for i in range(n):
        rng = np.random.default_rng([seed, 13, i])
        view = saccades.View()
        label = saccades.wandering(maker.config.rings, view.bins, rng)
        movie = saccades.movie(maker.image(rng, "held_out"), maker.config.rings, label, view, rng)
        found = evaluation.evidence(bank, movie, every)
        edges = np.searchsorted(found.bin, np.arange(view.bins + 1))
        since = 0
        for k in range(view.bins):
            since = since + 1 if k and label[k] == label[k - 1] else 0
            if k < bank.delays - 1 or edges[k] == edges[k + 1]:
                continue
            part = slice(edges[k], edges[k + 1])
            ok = evaluation.answer(found.total[part], found.evidence[part]) == label[k]
            right, total = right + ok, total + 1
            after[:, min(since, 59)] += ok, 1
    return right / total, after[0] / np.maximum(after[1], 1)
