"""Who reads a stream's rows: how many, how far they fell behind, and the one that the stream waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from service.streams.reaction import Reactions
from service.streams.row_store import RowStore


@dataclass
class Waiter:
    """A subscriber that asked to be waited for: how many rows of each output it has read."""

    read: dict[str, int] = field(default_factory=dict[str, int])


class Readers:
    """The subscribers of one stream; belongs to the event loop's thread, but for :meth:`keep_up`.

    Args:
        outputs: a row store each.
        reactions: which outputs somebody reads matters to how reaction times are counted.
        kept_bytes: of each output's rows.
        hold: makes the stream's thread wait before each frame until what it is given says that it may go on.
        poke: has it look again.
    """

    def __init__(
        self, outputs: dict[str, RowStore], reactions: Reactions, kept_bytes: int,
        hold: Callable[[Callable[[], bool]], None], poke: Callable[[], None],
    ) -> None:  # fmt: skip
        self._outputs, self._reactions, self._kept_bytes = outputs, reactions, kept_bytes
        self._hold, self._poke = hold, poke
        self._waiter: Waiter | None = None
        self.count = self.cut = self.lagged_rows = 0

    @property
    def taken(self) -> bool:
        """Whether the stream waits for a reader already."""
        return self._waiter is not None

    def join(self, outputs: list[str]) -> None:
        """One more reads these outputs."""
        self.count += 1
        self._reactions.reads(outputs, 1)

    def leave(self, outputs: list[str]) -> None:
        """One has gone."""
        self.count -= 1
        self._reactions.reads(outputs, -1)

    def cut_one(self) -> None:
        """One was disconnected, as it was too slow."""
        self.cut += 1

    def lagged(self, rows: int) -> None:
        """Rows were gone before one had read them."""
        self.lagged_rows += rows

    def wait_for(self, waiter: Waiter | None) -> None:
        """Hold the sender back for this reader, or for none."""
        self._waiter = waiter
        self._hold(self.keep_up if waiter else lambda: True)

    def moved(self) -> None:
        """The reader that is waited for has read on."""
        self._poke()

    def keep_up(self) -> bool:
        """Whether rows that the reader wants are far from being overwritten; from the stream's thread."""
        waiter = self._waiter
        if waiter is None:
            return True
        return all(
            (self._outputs[name].head.next_row - row) * self._outputs[name].dtype.itemsize
            < self._kept_bytes // 4
            for name, row in waiter.read.items()
        )
