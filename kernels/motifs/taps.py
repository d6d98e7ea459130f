"""Banks of motifs, laid out for the kernels that sum their rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.columns import F32, I64
from kernels.motifs._sums import shape_of, width_for
from kernels.motifs._sums16 import LANES, TOGETHER, WIDTHS, on_a_line, rows_that_fit
from kernels.motifs._windows import MOST_SIDE
from kernels.motifs.history import MAX_DELAYS

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]


class ShortTaps(NamedTuple):
    """A motif bank as :mod:`kernels.motifs.tile_sums` reads it.

    Attributes:
        table: flat int16 rows on lines of the cache, one per (pass, [polarity,] dy, dx, delay); each part of
            ``rows`` is followed by a row of zeros.
        bias: int32, filled up to whole vectors with what never wins.
        rows: of a part, without the row of zeros, which has this number.
        passes: how often the width holds the lanes.
        safe: rows that may be added in 16 bits.
        r2: squared distance from the middle of the window within which all weights lie, pixels.
        usable: whether the bank is small enough for 16-bit numbers of rows, and its weights for 16-bit sums.
        shape: as long as a row has vectors of 32 lanes.
    """

    table: I16
    bias: I32
    rows: int
    passes: int
    safe: int
    r2: int
    usable: bool
    shape: tuple[int, ...]


class Taps(NamedTuple):
    """A motif bank as the kernel reads it.

    Attributes:
        table: flat int16 rows of ``width`` lanes, one per (pass, [polarity,] dy, dx, delay). With contrast
            flip a row holds the weights of ON, then those of OFF; without, polarities have rows of their own.
        bias: [class] int32.
        reach: [dy, 2] int64, the first and the last column of the kernel with a weight, empty as (1, 0).
        height: of the kernel, pixels.
        width: of the kernel.
        delays: how many delays, bins.
        rows: of the table, one pass.
        passes: how often the width holds the lanes.
        contrast_flip: whether evidence is the maximum over both polarity assignments.
        shape: the width of the table, as :func:`kernels.motifs._sums.shape_of` says it.
        short: the same bank for :mod:`kernels.motifs.tile_sums`.
    """

    table: I16
    bias: I32
    reach: I64
    height: int
    width: int
    delays: int
    rows: int
    passes: int
    contrast_flip: bool
    shape: tuple[int, ...]
    short: ShortTaps

    @property
    def classes(self) -> int:
        """How many motifs there are."""
        return len(self.bias)


def taps(weight: F32, bias: F32, contrast_flip: bool) -> Taps:
    """Lay out a bank [class, polarity, delay, dy, dx] for the kernels.

    Raises:
        ValueError: more than 64 delays, a kernel that has no centre, weights that are no int16 integers, or
            sums that float32 cannot hold.
    """
    classes, _, delays, height, width = weight.shape
    if delays > MAX_DELAYS or height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"a motif kernel has odd sides and at most 64 delays, not {weight.shape[2:]}")
    if (np.abs(weight).sum(axis=(1, 2, 3, 4)) + np.abs(bias)).max(initial=0) >= 2**24:
        raise ValueError("sum |weight| + |bias| of a class must stay below 2^24, or sums are not exact")
    if np.abs(weight).max(initial=0) > 32767 or np.any(weight != np.rint(weight)):
        raise ValueError("weights must be integers from -32767 to 32767")
    lanes = classes * 2 if contrast_flip else classes
    columns = width_for(lanes)
    passes = -(-lanes // columns)
    # [polarity, dy, dx, delay, class]; with the flip ON comes first in a row.
    laid = weight.transpose(1, 3, 4, 2, 0)
    rows = np.concatenate([laid[1], laid[0]], axis=-1)[None] if contrast_flip else laid
    padded = np.zeros((*rows.shape[:-1], passes * columns), np.int16)
    padded[..., :lanes] = rows
    table = np.ascontiguousarray(np.moveaxis(padded.reshape(-1, passes, columns), 1, 0))
    used = np.any(weight != 0, axis=(0, 1, 2))
    reach = np.array(
        [(np.flatnonzero(row)[0], np.flatnonzero(row)[-1]) if row.any() else (1, 0) for row in used], np.int64
    )
    return Taps(
        table.reshape(-1), bias.astype(np.int32), reach, height, width, delays,
        padded[..., 0].size, passes, contrast_flip, shape_of(columns), _short(rows, bias, used),
    )  # fmt: skip


def _short(rows: NDArray[Any], bias: F32, used: NDArray[np.bool_]) -> ShortTaps:
    """Rows [part, dy, dx, delay, lane] in whole lines of the cache, each part ending in a row of zeros."""
    parts, height, width, delays, lanes = rows.shape
    columns = next((n for n in WIDTHS if n >= lanes), WIDTHS[-1])
    passes, n = -(-lanes // columns), height * width * delays
    table = on_a_line(passes * parts * (n + 1) * columns)
    laid = table.reshape(passes, parts, n + 1, columns)
    for k in range(passes):
        some = rows[..., k * columns : (k + 1) * columns]
        laid[k, :, :n, : some.shape[-1]] = some.reshape(parts, n, -1)
    classes = len(bias)
    low = np.full(-(-classes // LANES) * LANES, -(2**30), np.int32)
    low[:classes] = bias
    y, x = np.nonzero(used)
    r2 = int(((y - height // 2) ** 2 + (x - width // 2) ** 2).max(initial=0))
    safe = min(rows_that_fit(part[:n]) for part in laid.reshape(-1, n + 1, columns))
    usable = n < 65_536 and safe >= TOGETHER and max(height, width) <= MOST_SIDE
    return ShortTaps(table, low, n, passes, max(safe, TOGETHER), r2, usable, (0,) * (columns // 32))
