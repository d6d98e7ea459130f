"""``diagonal://N``: N events along a diagonal of a sensor of 32x32 pixels, a millisecond apart."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np

from pipeline.sensor import Sensor
from pipeline.sources.live import Live, LiveOptions, Scheme
from pipeline.sources.live.base import Arrival, BaseLive


class Diagonal(BaseLive):
    """See above."""

    def __init__(self, n: int) -> None:
        super().__init__("diagonal")
        self._n, self.sensor = n, Sensor(width=32, height=32)

    def arrivals(self) -> Iterator[Arrival]:
        """See :class:`pipeline.sources.live.Live`."""
        i = np.arange(self._n)
        at = (i % 32).astype(np.uint16)
        yield Arrival((i * 1000, at, at, i % 2 == 0))


def open_diagonal(address: str, options: LiveOptions) -> Live:
    """The source at an address."""
    del options
    return Diagonal(int(urlsplit(address).netloc))


SCHEME = Scheme("diagonal", "events along a diagonal", open_diagonal)
