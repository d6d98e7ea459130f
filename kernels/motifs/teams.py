"""Several detectors that share the voxels of one sensor, so that several threads answer.

Each sees all events and keeps its own past, which costs little; each sums where its bands of rows are
(:func:`kernels.motifs.targets.shared`), which costs most. Answers are put together in the order of one detector, so
they do not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.columns import XY, P, T
from kernels.motifs import detection, history, merging
from kernels.motifs.detection import Found, Lists
from kernels.motifs.history import History
from kernels.motifs.taps import Taps
from kernels.motifs.targets import BAND_BITS, Where, shared

Run = Callable[[Sequence[Callable[[], None]]], None]
"""Does all parts of a work, side by side or one after the other, and comes back when they are done."""


class Team:
    """What ``members`` detectors remember.

    Args:
        width: of the sensor.
        height: likewise.
        bank: the motifs.
        members: at least 1.
    """

    def __init__(self, width: int, height: int, bank: Taps, members: int = 1) -> None:
        self.histories: list[History] = [
            history.new_history(width, height, bank.width, bank.height) for _ in range(members)
        ]
        self.lists: list[Lists] = [detection.new_lists(width, height, bank) for _ in range(members)]

    @property
    def first(self) -> History:
        """The past, which is the same for all between two calls, but for what only one asks for."""
        return self.histories[0]

    def advance(
        self, t: T, x: XY, y: XY, p: P, bank: Taps, bin_us: int, until_bin: int, with_evidence: bool,
        where: Where, run: Run,
    ) -> Found:  # fmt: skip
        """See :func:`kernels.motifs.detection.advance`; ``run`` does the members' parts."""
        members = len(self.histories)
        if members == 1:
            return detection.advance(
                t, x, y, p, self.histories[0], self.lists[0], bank, bin_us, until_bin, with_evidence, where
            )
        found: list[Found | None] = [None] * members

        def part(k: int) -> None:
            found[k] = detection.advance(
                t, x, y, p, self.histories[k], self.lists[k], bank, bin_us, until_bin, with_evidence,
                shared(where, k, members),
            )  # fmt: skip

        run([partial(part, k) for k in range(members)])
        return merging.merged(tuple(one for one in found if one is not None))

    def rebuild(self) -> None:
        """Make lists follow the past, or a bank that changed."""
        for past, lists in zip(self.histories, self.lists, strict=True):
            detection.rebuild(lists, past)

    def forget(self) -> None:
        """Start anew, as after a gap."""
        for past in self.histories:
            history.forget(past)
        self.rebuild()

    def saved(self) -> dict[str, NDArray[Any]]:
        """All that a later :meth:`load` needs, as copies: what one detector alone would have saved."""
        kept = history.saved(self.first)
        for past in self.histories[1:]:  # targets of the open bin are each one's own
            np.bitwise_or(kept["targets"], past.targets, out=kept["targets"])
            np.bitwise_or(kept["rows"], past.rows, out=kept["rows"])
            np.bitwise_or(kept["recent"], past.recent, out=kept["recent"])
        return kept

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`saved` gave, whatever the number of members was."""
        for k, past in enumerate(self.histories):
            history.load(past, arrays)
            _keep_own(past, k, len(self.histories))
        self.rebuild()


def _keep_own(past: History, part: int, parts: int) -> None:
    """Forget the targets that other members answer."""
    for y in range(past.targets.shape[0]):
        if (y >> BAND_BITS) % parts != part:
            past.targets[y] = 0
            past.rows[y >> 6] &= ~(np.uint64(1) << np.uint64(y & 63))
