"""SplitMix64's finaliser in plain integers."""

from statistics import NormalDist

WORD = 2**64
GAMMA = 0x9E3779B97F4A7C15


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def bits(seed, purpose, index, pixel):
    key = mix((mix((seed * GAMMA + purpose) % WORD) + index * GAMMA) % WORD)
    return mix((key + (pixel + 1) * GAMMA) % WORD)


def uniform(seed, purpose, index, pixel):
    return ((bits(seed, purpose, index, pixel) >> 24) + 0.5) / 2**40


def normal(seed, purpose, index, pixel):
    """By table, before it is scaled to variance 1."""
    return NormalDist().inv_cdf((bits(seed, purpose, index, pixel) % 4096 + 0.5) / 4096)
