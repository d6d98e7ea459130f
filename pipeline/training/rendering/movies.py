"""A movie: events, and what moves in each bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.columns import I64, U64, XY, P, T
from kernels.learning import regression

Columns = tuple[T, XY, XY, P]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Movie:
    """Events of known motion.

    Attributes:
        events: columns t us from 0, x, y, p.
        label: [bins] or [bins, height, width], the class of each bin or voxel; -1 where there is none to learn.
        width: of the sensor.
        height: of the sensor.
        bin_us: the width of a bin.
    """

    events: Columns
    label: Labels
    width: int
    height: int
    bin_us: int = 1000

    @classmethod
    def of_bins(cls, sign: NDArray[np.int8], label: Labels) -> Movie:
        """From e [bin, height, width] in {-1, 0, 1}, bins of 1 ms; events are stamped with their bin's start."""
        t, y, x = np.nonzero(sign)
        columns = t * 1000, x.astype(np.uint16), y.astype(np.uint16), sign[t, y, x] > 0
        return cls(columns, label, sign.shape[2], sign.shape[1])

    def past(self) -> U64:
        """The recent past of each voxel; see :func:`kernels.learning.regression.recent_past`."""
        return regression.recent_past(*self.events, self.width, self.height, len(self.label), self.bin_us)

    def voxels(self, past: U64, size: int, delays: int) -> I64:
        """(bin, y, x) of the voxels with an event, a label and a whole past inside the sensor."""
        half, first = size // 2, delays - 1
        now = (past[first:, :, :, 0] | past[first:, :, :, 1]) & np.uint64(1)
        flat = np.flatnonzero(now[:, half : self.height - half, half : self.width - half])
        k, rest = np.divmod(flat, (self.height - 2 * half) * (self.width - 2 * half))
        y, x = np.divmod(rest, self.width - 2 * half)
        voxels = np.stack([k + first, y + half, x + half], axis=1)
        return voxels[self.labels(voxels) >= 0]

    def labels(self, voxels: I64) -> Labels:
        """The class of each voxel (bin, y, x)."""
        if self.label.ndim == 1:
            return self.label[voxels[:, 0]]
        return self.label[voxels[:, 0], voxels[:, 1], voxels[:, 2]]
