"""Random draws that depend on nothing but (seed, index, pixel).

A draw is a hash of where it is used, never the next of a sequence: whoever asks for it, in whatever order or
thread, gets the same. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014) over a Weyl sequence of the pixel.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from kernels._jit import kernel
from kernels.columns import F32, F64, U64

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)
_1, _24 = np.uint64(1), np.uint64(24)

QUANTILES = 4096
"""Entries of the table of the normal distribution."""


def _normal_table() -> F32:
    middle = (np.arange(QUANTILES) + 0.5) / QUANTILES
    z = np.array([NormalDist().inv_cdf(float(u)) for u in middle])
    return (z / z.std()).astype(np.float32)


NORMAL: F32 = _normal_table()
"""The normal distribution's value in the middle of each of 4,096 equal parts, scaled to variance 1; none lies
beyond 3.7."""


@kernel
def mix(z: Any) -> Any:
    """64 bits of which each depends on each bit of ``z`` (uint64)."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@kernel
def key_of(seed: int, purpose: int, index: int) -> Any:
    """What the draws of one purpose at one index (of a frame) start from, uint64."""
    z = mix(np.uint64(seed) * _GAMMA + np.uint64(purpose))
    return mix(z + np.uint64(index) * _GAMMA)


@kernel
def bits_at(key: Any, pixel: int) -> Any:
    """64 random bits of a pixel, uint64: the low 12 are for :func:`as_normal`, the high 40 for
    :func:`as_uniform`."""
    return mix(key + (np.uint64(pixel) + _1) * _GAMMA)


@kernel
def as_uniform(bits: Any) -> float:
    """The high 40 bits as a number in (0, 1)."""
    return (np.float64(bits >> _24) + 0.5) * 2.0**-40


@kernel
def as_normal(bits: Any, table: F32) -> float:
    """The low 12 bits as a normally distributed number, float32."""
    return table[np.int64(bits & np.uint64(QUANTILES - 1))]


def uniforms(seed: int, purpose: int, index: int, n: int) -> F64:
    """Uniform draws in (0, 1) of the pixels 0 .. n-1."""
    return (_bits(seed, purpose, index, n) >> _24).astype(np.float64) * 2.0**-40 + 2.0**-41


def normals(seed: int, purpose: int, index: int, n: int) -> F64:
    """Normal draws of the pixels 0 .. n-1 (Box-Muller: no table, so the tails are whole)."""
    radius = np.sqrt(-2.0 * np.log(uniforms(seed, purpose, 2 * index, n)))
    return radius * np.cos(2.0 * np.pi * uniforms(seed, purpose, 2 * index + 1, n))


def _bits(seed: int, purpose: int, index: int, n: int) -> U64:
    out = np.empty(n, np.uint64)
    _fill(seed, purpose, index, out)
    return out


@kernel
def _fill(seed: int, purpose: int, index: int, out: U64) -> None:
    key = key_of(seed, purpose, index)
    for pixel in range(out.size):
        out[pixel] = bits_at(key, pixel)
