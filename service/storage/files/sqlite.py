"""What the databases of the service share: one thread that writes, WAL, and what is done where a file is damaged.

A file that a power cut or a broken disk damaged is set aside, never in the way and never thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.event import listen

from pipeline.errors import UserError

_log = structlog.get_logger("service")
R = TypeVar("R")
_BESIDE = ("", "-wal", "-shm", "-journal")


class DatabaseUnusable(UserError):
    """A database that the system does not let be read."""


class SqliteStore:
    """Tables in a file; every call runs as one transaction, in one thread of the store's own.

    Args:
        path: of the file.
        fsync: whether a transaction is on the disk before it counts as done.
        meta: its tables.
        later: names of columns that a file of an earlier version may lack.
    """

    def __init__(
        self, path: Path, fsync: bool, meta: sa.MetaData, later: frozenset[str] = frozenset()
    ) -> None:
        self._path, self._meta, self._later = path, meta, later
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        listen(self._engine, "connect", connecting(fsync))
        self._thread = ThreadPoolExecutor(1, f"sqlite-{path.stem}")

    def close(self) -> None:
        """Let go of the file."""
        self._thread.shutdown()
        self._engine.dispose()

    async def _set_aside_what_is_of_no_use(self) -> None:
        """A file that is damaged, or lacks columns, makes room for a new one."""
        await asyncio.to_thread(set_aside_if_damaged, self._path)
        if self._path.exists() and not await self._do(has_columns(self._meta, self._later)):
            self._engine.dispose()
            await asyncio.to_thread(set_aside, self._path)

    async def _do(self, work: Callable[[sa.Connection], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._transaction(work))

    def _transaction(self, work: Callable[[sa.Connection], R]) -> R:
        with self._engine.begin() as db:
            return work(db)


def set_aside_if_damaged(path: Path) -> Path | None:
    """Rename a database that is none, or not whole, with what lies beside it; its new name, or None.

    Raises:
        DatabaseUnusable: it cannot be read for another reason, such as the rights of the file.
    """
    if not path.exists():
        return None
    if not path.is_file():
        return set_aside(path)
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchall()
            sound = found == [("ok",)]
    except sqlite3.OperationalError as problem:
        raise DatabaseUnusable(f"{path}: cannot be read: {problem}") from problem
    except sqlite3.DatabaseError:
        sound = False
    return None if sound else set_aside(path)


def connecting(fsync: bool) -> Callable[[Any, object], None]:
    """What to do with each new connection; with ``fsync`` a transaction is on the disk before it counts as done."""

    def configure(connection: Any, _: object) -> None:
        synchronous = "FULL" if fsync else "NORMAL"
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return configure


def has_columns(meta: sa.MetaData, later: frozenset[str] = frozenset()) -> Callable[[sa.Connection], bool]:
    """Whether the tables that are there have the columns that they should, but for those that ``later`` names."""

    def look(db: sa.Connection) -> bool:
        there = sa.inspect(db)
        return all(
            {column.name for column in table.columns} - later
            <= {str(column["name"]) for column in there.get_columns(table.name)}
            for table in meta.tables.values()
            if there.has_table(table.name)
        )

    return look


def set_aside(path: Path) -> Path:
    """Rename a database that is of no use; its new name."""
    n = 1
    while (aside := path.with_name(f"{path.name}.damaged-{n}")).exists():
        n += 1
    for end in _BESIDE:
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(aside.with_name(aside.name + end))
    _log.error(
        "a damaged database is set aside, and a new one is begun", database=str(path), aside=str(aside)
    )
    return aside
