"""Learned delays: one weight and one delay a synapse.

DCLS: Hammouamri, Khalfaoui-Hassani & Masquelier, "Learning delays in spiking neural networks using dilated
convolutions with learnable spacings", ICLR 2024. While it learns, the synapse from address a to class c spreads
its weight w over the delays d as a normalised Gaussian around its position P,

    W(a, d, c) = w g_d,    g_d = exp(-(d - P)^2 / (2 sigma^2)) / sum over d' of the same,

whose width shrinks from half the delays to half a bin over the first quarter of the steps. In the end P is
rounded, and one tap is left.
"""

from __future__ import annotations

import numpy as np

from kernels.columns import F32
from kernels.learning import regression

_NARROWEST = 0.5
_POSITIONS_RATE = 20.0
"""Positions are bins and weights are logits: a position's step is so many times a weight's."""


class DelayLearner:
    """Weights and positions [address, class] under Adam.

    Args:
        addresses: how many.
        delays: how many.
        classes: how many.
        steps: over which the width shrinks: a quarter of these.
        rng: draws where they start.
    """

    def __init__(
        self, addresses: int, delays: int, classes: int, steps: int, rng: np.random.Generator
    ) -> None:
        shape = addresses, classes
        self._delays, self._shrinking = delays, max(1, steps // 4)
        self.weight = (0.05 * rng.standard_normal(shape)).astype(np.float32)
        self.position = rng.uniform(0, delays - 1, shape).astype(np.float32)
        self._moments = [np.zeros(shape, np.float32) for _ in range(4)]
        self._steps = 0

    @property
    def sigma(self) -> float:
        """Width of the Gaussian, bins."""
        widest = self._delays / 2
        done = min(1.0, self._steps / self._shrinking)
        return float(widest * (_NARROWEST / widest) ** done)

    def taps(self) -> F32:
        """W [address * delay, class]."""
        spread, _ = self._spread()
        return (self.weight[:, None] * spread).reshape(-1, self.weight.shape[1])

    def learn(self, slope: F32, rate: float) -> None:
        """One step of Adam, from the loss's gradient by the taps."""
        spread, moved = self._spread()
        by_tap = slope.reshape(spread.shape)
        by_weight = (by_tap * spread).sum(axis=1)
        by_position = self.weight * (by_tap * moved).sum(axis=1)
        self._steps += 1
        first, second, position_first, position_second = self._moments
        regression.adam(self.weight, by_weight.astype(np.float32), first, second, self._steps, rate)
        regression.adam(
            self.position, by_position.astype(np.float32), position_first, position_second, self._steps,
            rate * _POSITIONS_RATE,
        )  # fmt: skip
        np.clip(self.position, 0, self._delays - 1, out=self.position)

    def bank(self) -> F32:
        """One tap a synapse: [class, address, delay]."""
        addresses, classes = self.weight.shape
        made = np.zeros((classes, addresses, self._delays), np.float32)
        delay = np.rint(self.position).astype(np.int64)
        a, c = np.mgrid[:addresses, :classes]
        made[c, a, delay] = self.weight
        return made

    def _spread(self) -> tuple[F32, F32]:
        """g [address, delay, class], and its derivative by the position."""
        d = np.arange(self._delays, dtype=np.float32)[None, :, None]
        off = (d - self.position[:, None]) / np.float32(self.sigma**2)
        g = np.exp(-0.5 * (d - self.position[:, None]) ** 2 / np.float32(self.sigma**2))
        g /= g.sum(axis=1, keepdims=True)
        return g, g * (off - (g * off).sum(axis=1, keepdims=True))


class TapLearner:
    """A weight for every (address, delay, class), under Adam: the layer of Grimaldi & Perrinet (ICANN 2023)."""

    def __init__(
        self, addresses: int, delays: int, classes: int, steps: int, rng: np.random.Generator
    ) -> None:
        del steps
        self._shape = addresses, delays, classes
        self.weight = (0.01 * rng.standard_normal((addresses * delays, classes))).astype(np.float32)
        self._first, self._second = np.zeros_like(self.weight), np.zeros_like(self.weight)
        self._steps = 0

    def taps(self) -> F32:
        """W [address * delay, class]."""
        return self.weight

    def learn(self, slope: F32, rate: float) -> None:
        """One step of Adam."""
        self._steps += 1
        regression.adam(self.weight, slope, self._first, self._second, self._steps, rate)

    def bank(self) -> F32:
        """[class, address, delay]."""
        return np.ascontiguousarray(self.weight.reshape(self._shape).transpose(2, 0, 1))
