"""Softmax certainty and the steered threshold, row by row."""

import numpy as np


def certainty(sums, scale):
    logits = sums.astype(np.float64) * scale
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (share / share.sum(axis=1, keepdims=True)).max(axis=1)


def steered(bins, total, target, step, level):
    kept, last = np.zeros(len(bins), bool), None
    for now in sorted(set(bins.tolist())):
        rows = np.flatnonzero(bins == now)
        kept[rows] = total[rows] >= level
        wanted = target * (1 if last is None else now - last)
        level += step * np.clip((kept[rows].sum() - wanted) / max(wanted, 1), -4, 4)
        last = now
    return kept, level
