"""Jobs in SQLite: one writer thread, WAL, nothing finished is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline.errors import UserError
from service.storage.files.sqlite import DatabaseUnusable, SqliteStore
from service.storage.records import CANCELLED, DONE, FAILED, OVER, QUEUED, RUNNING, Job

_META = sa.MetaData()
_JOBS = sa.Table(
    "jobs", _META,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("started_s", sa.Float),
    sa.Column("finished_s", sa.Float),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("error", sa.String),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("history", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("artifacts", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("bytes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("idempotency_key", sa.String, unique=True),
    sa.Column("asked", sa.String),
)  # fmt: skip
_STEPS: tuple[tuple[str, ...], ...] = (
    (),  # 0.1: the tables as they were before versions were counted
    (
        "ALTER TABLE jobs ADD COLUMN started_s FLOAT",
        "ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN history JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE jobs ADD COLUMN artifacts JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE jobs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    ),
    ("ALTER TABLE jobs ADD COLUMN asked VARCHAR",),
)
"""What leads from each version of the database to the next."""
_LATER = frozenset({"started_s", "priority", "history", "artifacts", "bytes", "idempotency_key", "asked"})
"""Columns that a database of an earlier version may lack."""
SCHEMA = len(_STEPS)
DATABASE = "jobs.sqlite"


class NewerData(UserError):
    """The data were written by a newer Polychrony."""


def check_version(path: Path) -> int:
    """The version of the database at ``path``; 0 where there is none.

    Raises:
        NewerData: a newer Polychrony wrote it.
    """
    if not path.is_file():  # what else is there is set aside when it is opened
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as problem:
        raise DatabaseUnusable(f"{path}: cannot be read: {problem}") from problem
    except sqlite3.DatabaseError:  # damaged: it is set aside when it is opened
        return 0
    if version > SCHEMA:
        raise NewerData(
            f"{path}: the data are of version {version}, written by a newer Polychrony: this one knows {SCHEMA}"
        )
    return int(version)


class JobStore(SqliteStore):
    """The jobs in SQLite; see :class:`service.storage.ports.JobQueue`.

    One service has the data folder: a job that runs when it is opened was interrupted.

    Args:
        path: of the database.
        fsync: whether a transaction is on the disk before it counts as done.
    """

    def __init__(self, path: Path, fsync: bool = False) -> None:
        super().__init__(path, fsync, _META, _LATER)
        self._most_attempts = 1
        self._leases: dict[str, float] = {}
        """Until when each job is its claimer's, by the monotonic clock: one that is set ends no lease. Not stored, as
        leases end with the process."""
        self._more = asyncio.Semaphore(0)

    async def open(self, most_attempts: int) -> None:
        """Make or update the tables; jobs that were running when the service died wait once more, but not for ever.

        A database that is damaged is set aside.

        Raises:
            NewerData: a newer Polychrony wrote them.
        """
        await self._set_aside_what_is_of_no_use()
        self._most_attempts = most_attempts

        def work(db: sa.Connection) -> None:
            _migrate(db)
            running = db.execute(_JOBS.select().where(_JOBS.c.state == RUNNING)).all()
            for job in map(_job, running):
                self._interrupt(db, job, "the service ended")

        await self._do(work)

    def _interrupt(self, db: sa.Connection, job: Job, why: str) -> None:
        """A job whose runner is gone waits once more, unless that was its last attempt."""
        past = {"attempt": job.attempts, "error": f"interrupted: {why}", "finished_s": time.time()}
        values: dict[str, Any] = {"state": QUEUED, "history": [*job.history, past]}
        if job.attempts >= self._most_attempts:
            error = f"{why} during each of {job.attempts} attempts"
            values |= {"state": FAILED, "error": error, "finished_s": time.time()}
        db.execute(_JOBS.update().where(_JOBS.c.id == job.id).values(**values))

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

        known = await self._do(work)
        self._more.release()
        return known

    async def changed(self, timeout_s: float) -> None:
        """See the port."""
        with contextlib.suppress(TimeoutError):
            # Not `wait_for`: before Python 3.12 it forgets that it was cancelled where what it waits for has just
            # come, and whoever ends the workers would wait for ever.
            async with asyncio.timeout(timeout_s):
                await self._more.acquire()

    async def claim(self, lease_s: float) -> Job | None:
        """The oldest of the jobs of the highest priority that wait, now running."""

        def work(db: sa.Connection) -> Job | None:
            self._end_leases(db)
            query = _JOBS.select().where(_JOBS.c.state == QUEUED)
            order = (_JOBS.c.priority.desc(), _JOBS.c.created_s, _JOBS.c.id)
            row = db.execute(query.order_by(*order).limit(1)).one_or_none()
            if row is None:
                return None
            job = _job(row)
            job.state, job.attempts, job.started_s = RUNNING, job.attempts + 1, time.time()
            values = {"state": RUNNING, "attempts": job.attempts, "started_s": job.started_s}
            db.execute(_JOBS.update().where(_JOBS.c.id == job.id).values(**values))
            self._leases[job.id] = time.monotonic() + lease_s
            return job

        return await self._do(work)

    def _end_leases(self, db: sa.Connection) -> None:
        """In the writer's thread, as all that touches leases."""
        now = time.monotonic()
        for id_ in [id_ for id_, until in self._leases.items() if until < now]:
            del self._leases[id_]
            query = _JOBS.select().where(_JOBS.c.id == id_, _JOBS.c.state == RUNNING)
            if (row := db.execute(query).one_or_none()) is not None:
                self._interrupt(db, _job(row), "whoever ran it fell silent")

    async def heartbeat(self, job: Job, lease_s: float) -> bool:
        """See the port."""

        def work(db: sa.Connection) -> bool:
            query = sa.select(_JOBS.c.attempts).where(_JOBS.c.id == job.id, _JOBS.c.state == RUNNING)
            held = db.execute(query).scalar_one_or_none() == job.attempts
            if held:
                self._leases[job.id] = time.monotonic() + lease_s
            return held

        return await self._do(work)

    async def finish(
        self, id_: str, state: str, error: str | None = None,
        artifacts: list[dict[str, Any]] | None = None, size: int = 0, attempt: int | None = None,
    ) -> None:  # fmt: skip
        """A job is over, unless it is already, or at another attempt than the one that is told of."""

        def work(db: sa.Connection) -> None:
            values: dict[str, Any] = {
                "state": state,
                "error": error,
                "finished_s": time.time(),
                "bytes": size,
            }
            if artifacts is not None:
                values["artifacts"] = artifacts
            query = _JOBS.update().where(_JOBS.c.id == id_, _JOBS.c.state.not_in(OVER))
            if attempt is not None:
                query = query.where(_JOBS.c.attempts == attempt)
            db.execute(query.values(**values))

        await self._do(work)

    async def wait_again(self, id_: str, states: frozenset[str], count_attempt: bool) -> Job | None:
        """A job that is in one of ``states`` waits once more; None where it is in none of them.

        Args:
            id_: of the job.
            states: from which it may go back.
            count_attempt: whether the attempt that ended counts, and is remembered with its error.
        """

        def work(db: sa.Connection) -> Job | None:
            row = db.execute(_JOBS.select().where(_JOBS.c.id == id_, _JOBS.c.state.in_(states))).one_or_none()
            if row is None:
                return None
            job = _job(row)
            if count_attempt:
                past = {
                    "attempt": job.attempts,
                    "error": job.error or job.state,
                    "finished_s": job.finished_s,
                }
                job.history = [*job.history, past][-20:]
            else:
                job.attempts -= 1
            job.state, job.error, job.finished_s, job.started_s = QUEUED, None, None, None
            db.execute(_JOBS.update().where(_JOBS.c.id == id_).values(**vars(job)))
            return job

        again = await self._do(work)
        if again is not None:
            self._more.release()
        return again

    async def holds(self, job: Job) -> bool:
        """Whether a job that was claimed still runs at that attempt."""
        now = await self.get(job.id)
        return now is not None and now.state == RUNNING and now.attempts == job.attempts

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

    async def page(
        self, after: str | None, most: int, state: str | None = None, newest: bool = False
    ) -> list[Job]:
        """Jobs in order of their names, behind ``after``; or those that came last."""

        def work(db: sa.Connection) -> list[Job]:
            order = _JOBS.c.created_s.desc() if newest else _JOBS.c.id
            query = _JOBS.select().order_by(order).limit(most)
            if after is not None:
                query = query.where(_JOBS.c.id > after)
            if state is not None:
                query = query.where(_JOBS.c.state == state)
            return [_job(row) for row in db.execute(query)]

        return await self._do(work)

    async def finished(self) -> list[tuple[str, float, int]]:
        """(name, when it ended, bytes) of the jobs that are over."""

        def work(db: sa.Connection) -> list[tuple[str, float, int]]:
            query = sa.select(_JOBS.c.id, _JOBS.c.finished_s, _JOBS.c.bytes).where(_JOBS.c.state.in_(OVER))
            return [(id_, finished_s or 0.0, size) for id_, finished_s, size in db.execute(query)]

        return await self._do(work)

    async def remove(self, id_: str) -> bool:
        """Forget a job that is over; whether there was one."""

        def work(db: sa.Connection) -> bool:
            return db.execute(_JOBS.delete().where(_JOBS.c.id == id_, _JOBS.c.state.in_(OVER))).rowcount > 0

        return await self._do(work)

    async def counts(self) -> dict[str, int]:
        """Jobs by state."""

        def work(db: sa.Connection) -> dict[str, int]:
            rows = db.execute(sa.select(_JOBS.c.state, sa.func.count()).group_by(_JOBS.c.state))
            return {
                **dict.fromkeys((QUEUED, RUNNING, DONE, FAILED, CANCELLED), 0),
                **{row[0]: row[1] for row in rows},
            }

        return await self._do(work)


def _migrate(db: sa.Connection) -> None:
    """From whatever version the database is to the newest."""
    found = int(db.execute(sa.text("PRAGMA user_version")).scalar_one())
    if found > SCHEMA:
        raise NewerData(
            f"the data are of version {found}, written by a newer Polychrony: this one knows {SCHEMA}"
        )
    if not sa.inspect(db).has_table("jobs"):
        _META.create_all(db)
    else:
        for step in _STEPS[max(found, 1) :]:
            for statement in step:
                db.execute(sa.text(statement))
    db.execute(sa.text(f"PRAGMA user_version = {SCHEMA}"))


def _job(row: Any) -> Job:
    return Job(**row._mapping)
