"""Where arrival order ends and stream time begins: lateness, reordering, gaps and the watermark.

running_max is the largest event or heartbeat time so far. An event is late iff t < running_max -
reorder_us, judged one by one in arrival order; the watermark is running_max - reorder_us; a step of
more than max_gap_us is a gap. Nothing here looks at a wall clock or at how the stream was cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.coding.events import NO_TIME, admit, is_sorted
from pipeline import packets
from pipeline.errors import UserError
from pipeline.packets import Events, Gap, Packet


class LateEvent(UserError):
    """An event came later than allowed, and the stream's policy is ``error``."""


class Clock:
    """Turns arriving events into packets that are sorted by time.

    Args:
        reorder_us: how far behind the newest event another may arrive.
        max_gap_us: a larger step resets everything that remembers.
        late_is_error: whether a late event ends the stream instead of being dropped and counted.
    """

    def __init__(
        self, reorder_us: int = 0, max_gap_us: int = 10_000_000, late_is_error: bool = False
    ) -> None:
        if not 0 <= reorder_us < max_gap_us:
            raise ValueError(
                f"reorder_us must be at least 0 and below max_gap_us={max_gap_us}, not {reorder_us}"
            )
        self.late = 0
        self._reorder_us = reorder_us
        self._max_gap_us = max_gap_us
        self._late_is_error = late_is_error
        self._running_max = NO_TIME
        self._floor = NO_TIME
        self._pending = packets.no_events()

    @property
    def late_is_error(self) -> bool:
        """Whether a late event ends the stream."""
        return self._late_is_error

    @property
    def watermark_us(self) -> int | None:
        """All events up to this time are known; None before the first."""
        newest = self.running_max_us
        return None if newest is None else max(newest - self._reorder_us, self._floor)

    @property
    def running_max_us(self) -> int | None:
        """The largest time seen, or None before the first."""
        return None if self._running_max == NO_TIME else self._running_max

    def events(self, columns: Events) -> list[Packet]:
        """Take in events in arrival order.

        Raises:
            LateEvent: one was late, and that is an error here.
        """
        out: list[Packet] = []
        gaps: tuple[Gap, ...] = ()
        start, n = 0, len(columns[0])
        while start < n or gaps:
            if gaps:  # the event behind the gap is the newest there is
                self._running_max = max(self._running_max, int(columns[0][start]))
            kept, self._running_max, taken = admit(
                columns[0][start:], self._running_max, self._reorder_us, self._max_gap_us
            )
            part = packets.cut(columns, start, start + taken)
            if self._floor != NO_TIME:
                kept &= part[0] >= self._floor
            self._count(kept)
            out.append(self._release(part, kept, gaps))
            start, gaps = start + taken, ()
            if start < n:
                gap, closing = self._gap(int(columns[0][start]))
                out += closing
                gaps = (gap,)
        return out

    def heartbeat(self, t_us: int) -> list[Packet]:
        """No later event is earlier than ``t_us``."""
        out: list[Packet] = []
        gaps: tuple[Gap, ...] = ()
        if self._running_max != NO_TIME and t_us - self._running_max > self._max_gap_us:
            gap, out = self._gap(t_us)
            gaps = (gap,)
        self._running_max = max(self._running_max, t_us)
        return [*out, self._release(packets.no_events(), np.empty(0, np.bool_), gaps)]

    def gap(self, t_us: int) -> list[Packet]:
        """The sender lost data before ``t_us``."""
        if self._running_max == NO_TIME:
            return self.heartbeat(t_us)
        gap, out = self._gap(max(t_us, self._running_max))
        # What was held back is out: nothing that comes now may lie before it.
        self._running_max = self._floor = gap.to_us
        return [*out, self._release(packets.no_events(), np.empty(0, np.bool_), (gap,))]

    def flush(self) -> list[Packet]:
        """The end: what was held back for reordering."""
        return self._drain()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the clock knows."""
        t, x, y, p = self._pending
        return {
            "state": np.array([self._running_max, self.late, self._floor]),
            "t": t,
            "x": x,
            "y": y,
            "p": p,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a snapshot."""
        self._running_max, self.late, self._floor = (int(v) for v in arrays["state"])
        t, x, y, p = (arrays[name].copy() for name in "txyp")
        self._pending = (t, x, y, p)

    def _count(self, kept: NDArray[np.bool_]) -> None:
        late = len(kept) - int(np.count_nonzero(kept))
        self.late += late
        if late and self._late_is_error:
            raise LateEvent(f"an event is more than reorder_us={self._reorder_us} us late")

    def _gap(self, to_us: int) -> tuple[Gap, list[Packet]]:
        return Gap(self._running_max, to_us), self._drain()

    def _drain(self) -> list[Packet]:
        """Release everything that is held back: no event before the newest can come any more."""
        if len(self._pending[0]) == 0:
            return []
        held, self._pending = self._pending, packets.no_events()
        return [packets.events(held, self._running_max)]

    def _release(self, part: Events, kept: NDArray[np.bool_], gaps: tuple[Gap, ...]) -> Packet:
        """A packet of all events up to the watermark, the rest held back."""
        if len(kept) and not kept.all():
            part = (part[0][kept], part[1][kept], part[2][kept], part[3][kept])
        watermark = max(self._running_max - self._reorder_us, self._floor)
        if self._reorder_us == 0:
            return packets.events(part, watermark, gaps)
        t, x, y, p = packets.join([self._pending, part])
        if not is_sorted(t):
            order = np.argsort(t, kind="stable")
            t, x, y, p = t[order], x[order], y[order], p[order]
        ready = int(np.searchsorted(t, watermark, side="right"))
        self._pending = packets.cut((t, x, y, p), ready, len(t))
        return packets.events(packets.cut((t, x, y, p), 0, ready), watermark, gaps)
