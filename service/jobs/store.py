"""Jobs in SQLite: one writer thread, WAL, nothing finished is ever lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.event import listen

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
OVER = frozenset({DONE, FAILED, CANCELLED})

_R = TypeVar("_R")
_META = sa.MetaData()
_JOBS = sa.Table(
    "jobs", _META,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("finished_s", sa.Float),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("error", sa.String),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("idempotency_key", sa.String, unique=True),
)  # fmt: skip


@dataclass
class Job:
    """One job.

    Attributes:
        id: its name.
        name: the name of the file that was uploaded.
        options: of ``polychrony analyze``.
        state: see the words above.
        error: one line, where it failed.
        attempts: how often it was started.
    """

    id: str
    name: str
    options: dict[str, Any]
    idempotency_key: str | None = None
    state: str = QUEUED
    created_s: float = field(default_factory=time.time)
    finished_s: float | None = None
    error: str | None = None
    attempts: int = 0


class JobStore:
    """The jobs, on disk; every call runs in one thread of its own."""

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        listen(self._engine, "connect", _configure)
        self._thread = ThreadPoolExecutor(1, "jobs-store")

    async def open(self) -> None:
        """Make the tables; jobs that were running when the service died wait once more."""

        def work(db: sa.Connection) -> None:
            _META.create_all(db)
            db.execute(_JOBS.update().where(_JOBS.c.state == RUNNING).values(state=QUEUED))

        await self._do(work)

    async def add(self, job: Job) -> Job:
        """Take a job in; the job that has its idempotency key already, where there is one."""

        def work(db: sa.Connection) -> Job:
            if job.idempotency_key is not None:
                known = db.execute(
                    _JOBS.select().where(_JOBS.c.idempotency_key == job.idempotency_key)
                ).one_or_none()
                if known is not None:
                    return _job(known)
            db.execute(_JOBS.insert().values(**vars(job)))
            return job

        return await self._do(work)

    async def claim(self) -> Job | None:
        """The oldest job that waits, now running."""

        def work(db: sa.Connection) -> Job | None:
            query = _JOBS.select().where(_JOBS.c.state == QUEUED).order_by(_JOBS.c.created_s, _JOBS.c.id)
            row = db.execute(query.limit(1)).one_or_none()
            if row is None:
                return None
            job = _job(row)
            job.state, job.attempts = RUNNING, job.attempts + 1
            db.execute(
                _JOBS.update().where(_JOBS.c.id == job.id).values(state=RUNNING, attempts=job.attempts)
            )
            return job

        return await self._do(work)

    async def finish(self, id_: str, state: str, error: str | None = None) -> None:
        """A job is over, unless it is already."""

        def work(db: sa.Connection) -> None:
            db.execute(
                _JOBS.update().where(_JOBS.c.id == id_, _JOBS.c.state.not_in(OVER))
                .values(state=state, error=error, finished_s=time.time())
            )  # fmt: skip

        await self._do(work)

    async def get(self, id_: str) -> Job | None:
        """The job of this name."""

        def work(db: sa.Connection) -> Job | None:
            row = db.execute(_JOBS.select().where(_JOBS.c.id == id_)).one_or_none()
            return None if row is None else _job(row)

        return await self._do(work)

    async def with_key(self, key: str) -> Job | None:
        """The job that was made with this idempotency key."""

        def work(db: sa.Connection) -> Job | None:
            row = db.execute(_JOBS.select().where(_JOBS.c.idempotency_key == key)).one_or_none()
            return None if row is None else _job(row)

        return await self._do(work)

    async def page(self, after: str | None, most: int) -> list[Job]:
        """Jobs in order of their names, behind ``after``."""

        def work(db: sa.Connection) -> list[Job]:
            query = _JOBS.select().order_by(_JOBS.c.id).limit(most)
            if after is not None:
                query = query.where(_JOBS.c.id > after)
            return [_job(row) for row in db.execute(query)]

        return await self._do(work)

    async def remove(self, id_: str) -> None:
        """Forget a job."""
        await self._do(lambda db: db.execute(_JOBS.delete().where(_JOBS.c.id == id_)))

    async def counts(self) -> dict[str, int]:
        """Jobs by state."""

        def work(db: sa.Connection) -> dict[str, int]:
            rows = db.execute(sa.select(_JOBS.c.state, sa.func.count()).group_by(_JOBS.c.state))
            return {
                **dict.fromkeys((QUEUED, RUNNING, DONE, FAILED, CANCELLED), 0),
                **{row[0]: row[1] for row in rows},
            }

        return await self._do(work)

    def close(self) -> None:
        """Let go of the file."""
        self._thread.shutdown()
        self._engine.dispose()

    async def _do(self, work: Callable[[sa.Connection], _R]) -> _R:
        def transaction() -> _R:
            with self._engine.begin() as db:
                return work(db)

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _job(row: Any) -> Job:
    return Job(**row._mapping)
