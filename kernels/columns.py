"""The array types that kernels speak of; a comment beside each name says its shape."""

import numpy as np
from numpy.typing import NDArray

T = NDArray[np.int64]
"""Times, us."""
XY = NDArray[np.uint16]
"""Pixel columns or rows."""
P = NDArray[np.bool_]
"""Polarities, true = ON; also masks."""
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
