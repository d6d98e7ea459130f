"""Random recordings for hypothesis."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def recordings(draw, width=16, height=12, max_events=200, max_step_us=1500, start_us=None):
    """Columns (t, x, y, p) of a sorted recording on a small sensor, dense enough for events to meet."""
    n = draw(st.integers(0, max_events))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    steps = rng.integers(0, draw(st.integers(1, max_step_us)), n)
    t = (0 if start_us is None else draw(start_us)) + np.cumsum(steps, dtype=np.int64)
    x = rng.integers(0, width, n).astype(np.uint16)
    y = rng.integers(0, height, n).astype(np.uint16)
    return t, x, y, rng.random(n) < 0.5


def cuts(n, max_cuts=6):
    """Places at which a stream of ``n`` events is cut into batches, empty ones included."""
    return st.lists(st.integers(0, n), max_size=max_cuts).map(lambda places: [0, *sorted(places), n])
