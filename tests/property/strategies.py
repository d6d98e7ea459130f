"""Random recordings for hypothesis."""

import numpy as np
from hypothesis import strategies as st

from pipeline.testing import cuts, recordings

__all__ = ["EDGE_TIMES", "HOUR_US", "LATEST_US", "cuts", "extreme_recordings", "recordings"]

HOUR_US = 3_600_000_000
LATEST_US = 2**53 - 1
"""The last time that a stream may have."""
EDGE_TIMES = (0, 2**31 - 1, 2**31, 2**32, 2**34, LATEST_US)
"""Where clocks of so many bits end or begin again."""


@st.composite
def extreme_recordings(draw, width, height, max_events=12):
    """Few events at the ends of everything: of time, of the sensor, of how long nothing happens."""
    start = draw(st.sampled_from(EDGE_TIMES) | st.integers(0, LATEST_US))
    steps = st.sampled_from((0, 1, 999, 1000, 1001, 10_000_000, HOUR_US, 5 * HOUR_US)) | st.integers(0, 2**40)
    n = draw(st.integers(0, max_events))
    t = np.minimum(start + np.cumsum([0, *(draw(steps) for _ in range(n))], dtype=np.int64)[:n], LATEST_US)
    x = np.array([draw(st.sampled_from((0, width // 2, width - 1))) for _ in range(n)], np.uint16)
    y = np.array([draw(st.sampled_from((0, height // 2, height - 1))) for _ in range(n)], np.uint16)
    return t, x, y, np.array([draw(st.booleans()) for _ in range(n)], np.bool_)
