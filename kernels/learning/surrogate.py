"""Training spiking layers step by step: the spatial gradient, applied as time goes on.

SLTT (Meng et al., "Towards memory- and time-efficient backpropagation for training spiking neural
networks", ICCV 2023) leaves out the gradient's way through time. With x the weighted spikes of a step,

    u[t] = decay (u[t-1] after its reset) + x[t],    s[t] = [u[t] >= threshold],
    dL/dW = sum over t of  (dL/dx[t]) s_below[t],    dL/dx = (W_above^T dL/dx_above) psi(u[t]),

so each step's gradient needs nothing of the steps before it, and memory does not grow with their number.
psi stands for the derivative of the spike: ATan, 1 / (1 + (pi (u - threshold))^2), Fang et al., ICCV
2021, or a rectangle, 1 where |u - threshold| < 1/2, Wu et al., 2018.

Activities are dense here, [example, site, lane] with lanes as in :mod:`kernels._lanes`, but work still follows the
spikes: what is 0 is skipped, forward and backward. No connection may have groups.
"""

from __future__ import annotations

import numpy as np

from kernels._jit import kernel
from kernels._lanes import add_scaled, padded
from kernels.columns import F32, I64
from kernels.networks.synapses import (
    CHANNELS_IN,
    I32,
    REACH_X,
    REACH_Y,
    TAPS_X,
    TAPS_Y,
    WIDTH_IN,
    Connection,
    Shape,
    Synapses,
    synapses,
)

ATAN, RECTANGLE = 0, 1
"""What stands for the derivative of the spike."""


def table_of(
    weight: F32, source: Shape, target: Shape, stride: tuple[int, int], pad: tuple[int, int]
) -> Synapses:
    """Weights [tap_y, tap_x, in, out] laid out to be trained; a dense layer has a tap for each input site."""
    return synapses([Connection(source, weight, stride, pad)], target)


def weight_of(layer: Synapses, table: F32) -> F32:
    """The weights [tap_y, tap_x, in, out] in a table."""
    taps_y, taps_x = layer.geometry[0, TAPS_Y], layer.geometry[0, TAPS_X]
    rows = table.reshape(taps_y, taps_x, -1, padded(layer.channels))
    return np.ascontiguousarray(rows[..., : layer.channels])


def transposed(layer: Synapses, table: F32, inner: int) -> F32:
    """The table whose rows [tap, out] hold a lane for each input channel: what errors go back along."""
    weight = weight_of(layer, table).transpose(0, 1, 3, 2)
    return np.pad(weight, ((0, 0), (0, 0), (0, 0), (0, padded(inner) - inner))).ravel()


def charge(below: F32, layer: Synapses, table: F32, bias: F32, out: F32) -> None:
    """x = bias + W s, example by example.

    Args:
        below: what arrives, [example, site, lane].
        layer: its geometry.
        table: its weights.
        bias: [lane].
        out: [example, site, lane], overwritten.
    """
    out[:] = bias
    lanes_in = below.shape[2]
    for one, target in zip(below.reshape(len(below), -1), out.reshape(len(out), -1), strict=True):
        _charge(one, lanes_in, layer.geometry, layer.reach, table, layer.width, out.shape[2], target)


def fire(
    x: F32, u: F32, decay: float, threshold: float, hard: bool, surrogate: int, s: F32, psi: F32
) -> None:
    """One step of LIF neurons, in place: potentials, spikes, and what stands for their derivative.

    Args:
        x: what arrives; so are all other arrays, any shape.
        u: potentials after the last step's reset, changed.
        decay: what is left of them a step later.
        threshold: at which a spike leaves.
        hard: a spike sets the potential to 0, otherwise it subtracts the threshold.
        surrogate: ``ATAN`` or ``RECTANGLE``.
        s: spikes, overwritten.
        psi: derivatives, overwritten.
    """
    _fire(
        x.reshape(-1), u.reshape(-1), np.float32(decay), np.float32(threshold), hard, surrogate, s.reshape(-1),
        psi.reshape(-1),
    )  # fmt: skip


def rectify(x: F32, s: F32, psi: F32) -> None:
    """What neurons without memory send, max(x, 0), and its derivative; all of one shape, the last two overwritten."""
    np.maximum(x, 0, out=s)
    np.greater(x, 0, out=psi, casting="unsafe")


def weight_gradient(below: F32, error: F32, layer: Synapses, slope: F32) -> None:
    """Adds the gradient by the weights.

    Args:
        below: what arrived, [example, site, lane].
        error: the loss's gradient by x, [example, site, lane].
        layer: its geometry.
        slope: like the table, added to.
    """
    lanes_in = below.shape[2]
    for one, errors in zip(below.reshape(len(below), -1), error.reshape(len(error), -1), strict=True):
        _weight_gradient(
            one, lanes_in, layer.geometry, layer.reach, layer.width, error.shape[2], errors, slope
        )


def input_gradient(error: F32, layer: Synapses, turned: F32, below: F32) -> None:
    """The gradient by what arrived: W^T error.

    Args:
        error: the loss's gradient by x, [example, site, lane].
        layer: its geometry.
        turned: its weights as :func:`transposed` lays them out.
        below: [example, site, lane], overwritten.
    """
    below[:] = 0
    channels, lanes = layer.channels, error.shape[2]
    for errors, one in zip(error.reshape(len(error), -1), below.reshape(len(below), -1), strict=True):
        _input_gradient(
            errors, channels, lanes, layer.geometry, layer.reach, layer.width, turned, below.shape[2], one
        )


@kernel
def _charge(
    below: F32, lanes_in: int, geometry: I64, reach: I32, table: F32, width: int, lanes: int, x: F32
) -> None:
    inner, taps_y, taps_x = geometry[0, CHANNELS_IN], geometry[0, TAPS_Y], geometry[0, TAPS_X]
    for pixel in range(below.size // lanes_in):
        iy = pixel // geometry[0, WIDTH_IN]
        ys = geometry[0, REACH_Y] + iy * taps_y
        xs = geometry[0, REACH_X] + (pixel - iy * geometry[0, WIDTH_IN]) * taps_x
        for channel in range(inner):
            s = below[pixel * lanes_in + channel]
            if s == 0:
                continue
            for ty in range(taps_y):
                oy = np.int64(reach[ys + ty])
                if oy < 0:
                    continue
                for tx in range(taps_x):
                    ox = np.int64(reach[xs + tx])
                    if ox >= 0:
                        row = ((ty * taps_x + tx) * inner + channel) * lanes
                        add_scaled(x, (oy * width + ox) * lanes, table, row, s, lanes)


@kernel
def _weight_gradient(
    below: F32, lanes_in: int, geometry: I64, reach: I32, width: int, lanes: int, error: F32, slope: F32
) -> None:
    inner, taps_y, taps_x = geometry[0, CHANNELS_IN], geometry[0, TAPS_Y], geometry[0, TAPS_X]
    for pixel in range(below.size // lanes_in):
        iy = pixel // geometry[0, WIDTH_IN]
        ys = geometry[0, REACH_Y] + iy * taps_y
        xs = geometry[0, REACH_X] + (pixel - iy * geometry[0, WIDTH_IN]) * taps_x
        for channel in range(inner):
            s = below[pixel * lanes_in + channel]
            if s == 0:
                continue
            for ty in range(taps_y):
                oy = np.int64(reach[ys + ty])
                if oy < 0:
                    continue
                for tx in range(taps_x):
                    ox = np.int64(reach[xs + tx])
                    if ox >= 0:
                        row = ((ty * taps_x + tx) * inner + channel) * lanes
                        add_scaled(slope, row, error, (oy * width + ox) * lanes, s, lanes)


@kernel
def _input_gradient(
    error: F32, channels: int, lanes: int, geometry: I64, reach: I32, width: int, turned: F32, lanes_in: int,
    below: F32,
) -> None:  # fmt: skip
    taps_y, taps_x = geometry[0, TAPS_Y], geometry[0, TAPS_X]
    for pixel in range(below.size // lanes_in):
        iy = pixel // geometry[0, WIDTH_IN]
        ys = geometry[0, REACH_Y] + iy * taps_y
        xs = geometry[0, REACH_X] + (pixel - iy * geometry[0, WIDTH_IN]) * taps_x
        for ty in range(taps_y):
            oy = np.int64(reach[ys + ty])
            if oy < 0:
                continue
            for tx in range(taps_x):
                ox = np.int64(reach[xs + tx])
                if ox < 0:
                    continue
                at = (oy * width + ox) * lanes
                row = (ty * taps_x + tx) * channels
                for c in range(channels):
                    e = error[at + c]
                    if e != 0:
                        add_scaled(below, pixel * lanes_in, turned, (row + c) * lanes_in, e, lanes_in)


@kernel
def _fire(
    x: F32, u: F32, decay: float, threshold: float, hard: bool, surrogate: int, s: F32, psi: F32
) -> None:
    one, zero = np.float32(1), np.float32(0)
    for i in range(u.size):
        v = decay * u[i] + x[i]
        away = v - threshold
        if surrogate == 0:
            far = np.float32(np.pi) * away
            psi[i] = one / (one + far * far)
        else:
            psi[i] = one if abs(away) < np.float32(0.5) else zero
        spike = one if v >= threshold else zero
        s[i] = spike
        u[i] = v * (one - spike) if hard else v - threshold * spike
