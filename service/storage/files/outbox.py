"""Messages on disk until they are delivered: they outlive the service, and are bounded.

A message and the row up to which its output was read are written in one transaction, so a restart tells nothing twice
that it did not have to, and leaves nothing out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from service.host.ages import steady_s
from service.storage.files.sqlite import R, SqliteStore
from service.storage.records import Held, Message, Waiting

_META = sa.MetaData()
_MESSAGES = sa.Table(
    "messages", _META,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("receiver", sa.String, nullable=False, index=True),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,  # a number that was dropped while it was delivered must never be another's
)  # fmt: skip
_CURSORS = sa.Table(
    "cursors", _META,
    sa.Column("receiver", sa.String, primary_key=True),
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("output", sa.String, primary_key=True),
    sa.Column("next_row", sa.Integer, nullable=False),
)  # fmt: skip


_AT_ONCE = 256


class Outbox(SqliteStore):
    """The messages of all receivers in SQLite; see :class:`service.storage.ports.OutboxStore`.

    Args:
        path: of the database.
        fsync: whether a transaction is on the disk before it counts as done.
    """

    def __init__(self, path: Path, fsync: bool = False) -> None:
        super().__init__(path, fsync, _META)
        self._held: dict[str, Held] = {}
        self._receivers: set[str] = set()

    async def open(self, receivers: set[str]) -> None:
        """Make the tables; what waits for receivers that are no more is forgotten, a damaged file is set aside."""
        await self._set_aside_what_is_of_no_use()

        def work(db: sa.Connection) -> None:
            _META.create_all(db)
            late = _MESSAGES.c.created_s > steady_s()  # by a clock that was set back since
            db.execute(_MESSAGES.update().where(late).values(created_s=steady_s()))
            for table in (_MESSAGES, _CURSORS):
                db.execute(table.delete().where(table.c.receiver.not_in(receivers)))
            self._receivers = receivers
            self._count(db)

        await self._do(work)

    async def cursors(self, receiver: str) -> dict[tuple[str, str], int]:
        """Up to which row each (stream, output) was read."""

        def work(db: sa.Connection) -> dict[tuple[str, str], int]:
            query = _CURSORS.select().where(_CURSORS.c.receiver == receiver)
            return {(row.stream, row.output): row.next_row for row in db.execute(query)}

        return await self._do(work)

    async def add(
        self, receiver: str, messages: list[Message], cursors: dict[tuple[str, str], int], keep_bytes: int
    ) -> int:
        """Take messages in, and how far their outputs were read; how many older ones had to go for them."""

        def work(db: sa.Connection) -> int:
            now = steady_s()
            for one in messages:
                values = {"receiver": receiver, "created_s": now, **vars(one)}
                db.execute(_MESSAGES.insert().values(**values))
            for (stream, output), next_row in cursors.items():
                at = {"receiver": receiver, "stream": stream, "output": output}
                db.execute(_CURSORS.delete().where(*(_CURSORS.c[k] == v for k, v in at.items())))
                db.execute(_CURSORS.insert().values(**at, next_row=next_row))
            self._held[receiver].count += len(messages)
            self._held[receiver].bytes += sum(len(one.body) for one in messages)
            return self._make_room(db, receiver, keep_bytes)

        return await self._do(work)

    async def drop_old(self, receiver: str, keep_s: float) -> int:
        """Drop messages that have waited too long; how many, of which there may be more."""

        def work(db: sa.Connection) -> int:
            too_old = _MESSAGES.c.created_s < steady_s() - keep_s
            query = sa.select(_MESSAGES.c.number).where(_MESSAGES.c.receiver == receiver, too_old)
            return self._delete(db, list(db.execute(query.limit(_AT_ONCE)).scalars()))

        return await self._do(work)

    async def forget_streams(self, receiver: str, gone: list[str]) -> None:
        """Streams that are no more."""

        def work(db: sa.Connection) -> None:
            db.execute(_CURSORS.delete().where(_CURSORS.c.receiver == receiver, _CURSORS.c.stream.in_(gone)))

        await self._do(work)

    async def oldest(self, receiver: str, most: int) -> list[Waiting]:
        """The messages that have waited longest."""

        def work(db: sa.Connection) -> list[Waiting]:
            query = _MESSAGES.select().where(_MESSAGES.c.receiver == receiver).order_by(_MESSAGES.c.number)
            return [
                Waiting(row.number, Message(row.id, row.topic, row.body, row.rows))
                for row in db.execute(query.limit(most))
            ]

        return await self._do(work)

    async def remove(self, numbers: list[int]) -> int:
        """They were delivered; how many of them were still there."""
        return await self._do(lambda db: self._delete(db, numbers))

    def waiting(self, receiver: str) -> Held:
        """How much waits."""
        return self._held.get(receiver, Held())

    def _count(self, db: sa.Connection) -> None:
        """How much waits, as the file says."""
        self._held = {name: Held() for name in self._receivers}
        size = sa.func.sum(sa.func.length(_MESSAGES.c.body))
        for name, count, total in db.execute(
            sa.select(_MESSAGES.c.receiver, sa.func.count(), size).group_by(_MESSAGES.c.receiver)
        ):
            self._held[name] = Held(int(count), int(total))

    def _make_room(self, db: sa.Connection, receiver: str, keep_bytes: int) -> int:
        """Drop the oldest of what is too much; how many messages went."""
        mine, gone = _MESSAGES.c.receiver == receiver, 0
        oldest = sa.select(_MESSAGES.c.number).where(mine).order_by(_MESSAGES.c.number).limit(_AT_ONCE)
        while self._held[receiver].bytes > keep_bytes and self._held[receiver].count > 0:
            gone += self._delete(
                db, list(db.execute(oldest).scalars())[: self._held[receiver].count // 8 + 1]
            )
        return gone

    def _delete(self, db: sa.Connection, numbers: list[int]) -> int:
        if not numbers:
            return 0
        these = _MESSAGES.c.number.in_(numbers)
        for receiver, size in db.execute(
            sa.select(_MESSAGES.c.receiver, sa.func.length(_MESSAGES.c.body)).where(these)
        ):
            held = self._held[receiver]
            held.count, held.bytes = held.count - 1, held.bytes - size
        return db.execute(_MESSAGES.delete().where(these)).rowcount

    def _transaction(self, work: Callable[[sa.Connection], R]) -> R:
        try:
            return super()._transaction(work)
        except BaseException:  # such as a full disk: what was counted meanwhile did not come to be
            with contextlib.suppress(SQLAlchemyError), self._engine.connect() as db:
                self._count(db)
            raise
