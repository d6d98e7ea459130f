"""Recordings as what arrives at a network."""

from __future__ import annotations

import numpy as np

from kernels.columns import F32
from kernels.networks import encoding
from kernels.networks.synapses import Spikes
from pipeline.models import spiking
from pipeline.models.spiking import Encoding
from pipeline.packets import Events


def encoded(events: Events, how: Encoding) -> Spikes:
    """The first ``steps`` steps of a recording, empty where it is shorter."""
    steps = how.steps or 1
    encoder = encoding.new_encoder(how.width * how.height * how.polarities)
    if how.step_us is not None:
        step_us = how.step_us
        first = int(events[0][0]) // step_us if len(events[0]) else 0
        got = encoding.by_time(*events, encoder, how.width, how.polarities, how.most, step_us, first + steps)
        spikes = got.spikes
    else:
        got = encoding.by_count(*events, encoder, how.width, how.polarities, how.most, how.step_events or 1)
        spikes = spiking.joined([got.spikes, encoding.close(encoder, how.most)])
    return _exactly(spikes, steps)


def _exactly(spikes: Spikes, steps: int) -> Spikes:
    offsets = spikes.offsets[: steps + 1]
    offsets = np.concatenate([offsets, np.full(steps + 1 - len(offsets), offsets[-1])])
    return Spikes(offsets, spikes.index[: offsets[-1]], spikes.value[: offsets[-1]])


def windowed(counts: F32, window: int, most: int) -> F32:
    """Sums over the last ``window`` steps of [step, input], at most ``most``: a Delta network's input."""
    total = np.cumsum(counts, axis=0)
    total[window:] -= total[:-window].copy()
    return np.minimum(total, np.float32(most)).astype(np.float32)
