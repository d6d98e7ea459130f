"""Jobs at work: child processes, their progress, and who waits for it."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from pipeline.writing import sync_folder
from service.host import child
from service.host.ages import Ages
from service.http.problems import Problem
from service.jobs import lost, work
from service.settings import Settings
from service.storage.ports import JobQueue
from service.storage.records import CANCELLED, DONE, FAILED, OVER, QUEUED, RUNNING, Job

_log = structlog.get_logger("jobs")
_LINE_BYTES = 2**20
_TOO_SOON_S = 0.5
_LEASE_S = 60.0
"""A job whose runner says nothing for so long is run by another."""
_MOST_FOUND = 1000
_LOOK_S = 5.0
"""A worker looks at the queue that often by itself."""
_ID = re.compile(r"[0-9a-f]{16}")
_ASIDE = "damaged-"


@dataclass
class Live:
    """What is known of a job that is being worked on."""

    fraction: float = 0.0
    events: int = 0
    rows: dict[str, int] = field(default_factory=dict[str, int])
    child: child.Child | None = None
    cancelled: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is done, where it goes on as it did; None where nothing can be said yet."""
        elapsed = time.monotonic() - self.started_s
        if self.child is None or self.fraction <= 0 or elapsed < _TOO_SOON_S:
            return None
        return round(elapsed * (1 - self.fraction) / self.fraction, 1)

    def kill(self) -> None:
        """End its child, where there is one."""
        if self.child is not None:
            self.child.kill()

    def tell(self) -> None:
        """Wake everyone who waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """The jobs of the service; belongs to the event loop's thread."""

    def __init__(self, settings: Settings, store: JobQueue) -> None:
        self._settings, self.store = settings, store
        self._live: dict[str, Live] = {}
        self._found: dict[str, tuple[int | None, dict[str, int] | None]] = {}
        """Counts of jobs that are done, as far as somebody asked: they change no more."""
        self._workers: list[asyncio.Task[None]] = []
        self.last_counts: dict[str, int] = {}
        self._ages = Ages()

    async def open(self) -> None:
        """Open the queue and start working; what a crash left half done is done again.

        Raises:
            NewerData: a newer Polychrony wrote the queue.
        """
        self._settings.jobs_dir.mkdir(parents=True, exist_ok=True)
        if self._settings.fsync:
            sync_folder(self._settings.jobs_dir.parent)
        await self.store.open(self._settings.job_attempts)
        known = {job.id for job in await self.store.page(None, 2**31)}
        for folder in self._settings.jobs_dir.iterdir():
            if folder.name not in known:
                try:
                    await self._take_back(folder)
                except Exception as problem:  # what is wrong with one folder is no reason not to start
                    _log.error(
                        "a job's folder cannot be read, and is left", name=folder.name, problem=str(problem)
                    )
            for part in folder.glob(".*.part"):
                if part.is_dir():
                    shutil.rmtree(part, ignore_errors=True)
                else:
                    part.unlink(missing_ok=True)
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.parallel_jobs)]
        self._workers.append(asyncio.create_task(self._tidy_forever()))

    async def _take_back(self, folder: Path) -> None:
        """A folder that the database does not know: a body that never came whole goes, a job comes back.

        What the folder tells is all that is left of it where the database was lost.
        """
        if not _ID.fullmatch(folder.name) or not folder.is_dir():
            if not folder.name.startswith(_ASIDE):
                _log.warning("something that is no job lies in the folder of jobs", name=folder.name)
            return
        job = await asyncio.to_thread(lost.job_of, folder)
        if job is None and not (folder / work.REQUEST).exists() and not self.answers(folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)
            return
        if job is None:
            aside = folder.rename(folder.with_name(_ASIDE + folder.name))
            _log.error("a job whose request is damaged is set aside", id=folder.name, aside=str(aside))
            return
        await self.store.add(job)
        _log.warning(
            "a job that the database did not know is taken back from its folder", id=job.id, state=job.state
        )

    async def close(self) -> None:
        """Stop working; jobs under way wait, and run again after the next start."""
        for worker in self._workers:
            worker.cancel()
        for live in self._live.values():
            live.kill()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for id_ in self._live:
            await self.store.wait_again(id_, frozenset({RUNNING}), count_attempt=False)
        self.store.close()

    async def count(self) -> None:
        """Look how many there are, for whoever asks for figures."""
        self.last_counts = await self.store.counts()

    @property
    def alive(self) -> bool:
        """Whether every worker is at work."""
        return all(not worker.done() for worker in self._workers)

    def new_folder(self) -> tuple[str, Path]:
        """A name for a job, and its folder."""
        id_ = secrets.token_hex(8)
        folder = self.folder(id_)
        folder.mkdir(parents=True)
        return id_, folder

    def folder(self, id_: str) -> Path:
        """Where a job's files are."""
        return self._settings.jobs_dir / id_

    def answers(self, id_: str) -> Path:
        """Where a job's artifacts appear."""
        return self.folder(id_) / "answers"

    async def submit(self, job: Job) -> Job:
        """Take in a job whose upload is in its folder.

        Raises:
            Problem: too many wait.
        """
        await self.demand_room()
        upload = next(self.folder(job.id).glob("upload*"), None)
        if upload is None:
            raise FileNotFoundError(f"job {job.id} has no upload")
        # First: what the database knows can be worked on, and comes back where the database is lost.
        await asyncio.to_thread(self._write_request, job, upload)
        return await self.store.add(job)

    async def demand_room(self) -> None:
        """Look whether one more may wait.

        Raises:
            Problem: too many do already.
        """
        if (await self.store.counts())["queued"] >= self._settings.max_queued_jobs:
            raise Problem(503, "too many jobs wait", headers={"Retry-After": "30", "Connection": "close"})

    def _write_request(self, job: Job, upload: Path) -> Path:
        return work.write_request(
            self.folder(job.id), upload, job.name, self.answers(job.id), job.options,
            job.idempotency_key, job.asked, self._settings.fsync,
        )  # fmt: skip

    def counts(self, job: Job) -> tuple[int | None, dict[str, int] | None]:
        """(events, rows of each output) so far; of a job that is over, what it found, where it is done."""
        if job.state not in OVER:
            live = self.live(job.id)
            return live.events, live.rows
        if job.state != DONE:
            return None, None
        if job.id not in self._found:
            self._found[job.id] = lost.counts(self.answers(job.id))
            while len(self._found) > _MOST_FOUND:
                self._found.pop(next(iter(self._found)))
        return self._found[job.id]

    def live(self, id_: str) -> Live:
        """What is known of a job that waits or runs."""
        return self._live.setdefault(id_, Live())

    async def cancel(self, id_: str) -> None:
        """End a job that waits or runs."""
        await self.store.finish(id_, CANCELLED)
        self._ages.begin(id_)
        # At once: who retries it meanwhile has another attempt, which is none of this one's.
        if live := self._live.get(id_):
            live.cancelled = True
            live.kill()
            live.tell()
            if live.child is None:
                self._live.pop(id_, None)  # it waited, and nobody else will
        now = await self.store.get(id_)
        if now is not None and now.state == CANCELLED:
            await asyncio.to_thread(lost.mark_over, self.folder(id_), CANCELLED, None)

    async def users_of(self, model: str) -> list[str]:
        """Names of the jobs that wait or run and use a model."""
        found = [*await self.store.page(None, 2**31, QUEUED), *await self.store.page(None, 2**31, RUNNING)]
        return [job.id for job in found
                if any(str(stage.get("model", "")).partition("@")[0] == model
                       for stage in job.options["pipeline"]["stages"])]  # fmt: skip

    async def retry(self, id_: str) -> Job | None:
        """Run a job that failed or was cancelled once more; None where it is neither."""
        job = await self.store.wait_again(id_, frozenset({FAILED, CANCELLED}), count_attempt=True)
        if job is not None:
            (self.folder(id_) / lost.OVER).unlink(missing_ok=True)
        return job

    async def remove(self, id_: str) -> None:
        """Forget a job that is over, with its files."""
        if await self.store.remove(id_):
            await asyncio.to_thread(shutil.rmtree, self.folder(id_), True)

    async def _tidy_forever(self) -> None:
        """Jobs whose time is over go."""
        while True:
            with suppress(Exception):
                for id_ in await self._outdated():
                    await self.remove(id_)
                    _log.info("job forgotten: too old, or too much is kept", id=id_)
            await asyncio.sleep(min(30.0, self._settings.keep_jobs_s))

    async def _outdated(self) -> list[str]:
        """Names of jobs that are over and whose time is over, too, or that are too many; the oldest first."""
        finished = await self.store.finished()
        self._ages.keep(id_ for id_, _, _ in finished)
        by_age = sorted((self._ages.age_s(id_, at_s), id_, size) for id_, at_s, size in finished)
        kept, names = 0, list[str]()
        for age_s, id_, size in by_age:
            kept += size
            if age_s > self._settings.keep_jobs_s or kept > self._settings.keep_jobs_bytes:
                names.append(id_)
        return names[::-1]

    async def _work(self) -> None:
        while True:
            try:
                job = await self.store.claim(_LEASE_S)
            except Exception:
                _log.exception("the queue cannot be read")
                await asyncio.sleep(1)
                continue
            if job is None:
                await self.store.changed(_LOOK_S)
                continue
            before, live = self._live.get(job.id), Live()
            self._live[job.id] = live
            if before is not None:
                before.tell()
            try:
                await self._run(job, live)
            except Exception as problem:
                _log.exception("job failed for a fault of the service", id=job.id)
                await self._fail(job, f"a fault of the service: {type(problem).__name__}")
            live.tell()
            self._ages.begin(job.id)
            if self._live.get(job.id) is live:
                del self._live[job.id]

    async def _fail(self, job: Job, why: str) -> None:
        """Write down that it failed, as soon as that can be written: the disk may be full."""
        while True:
            try:
                await self.store.finish(job.id, FAILED, why, attempt=job.attempts)
            except Exception:
                _log.exception("what became of a job cannot be written down", id=job.id)
                await asyncio.sleep(1)
            else:
                return

    async def _run(self, job: Job, live: Live) -> None:
        folder = self.folder(job.id)
        upload = next(folder.glob("upload*"), None)
        if upload is None:
            await self._fail(job, "its upload is gone from the data folder: send it again")
            return
        request = await asyncio.to_thread(self._write_request, job, upload)
        settings = self._settings
        limits = child.Limits(
            settings.job_memory_bytes, settings.job_file_bytes, settings.job_seconds, nice=settings.job_nice
        )
        live.child = worker = await child.start("job", str(request), limits=limits, most_bytes=_LINE_BYTES)
        live.started_s = time.monotonic()
        if live.cancelled or not await self.store.holds(job):
            worker.kill()  # cancelled while it was being started
        _log.info("job started", id=job.id, attempt=job.attempts)
        live.tell()
        holding = asyncio.create_task(self._renew_lease(job, worker))
        try:
            await self._follow(live, worker)
            said, status = await worker.last_words(), await worker.wait()
        finally:
            holding.cancel()
            await worker.end()
        if not await self.store.holds(job):
            return  # cancelled meanwhile
        if status == 0:
            artifacts = await asyncio.to_thread(lost.artifacts, self.answers(job.id), self._settings.fsync)
            size = upload.stat().st_size + sum(one["bytes"] for one in artifacts)
            await self.store.finish(job.id, DONE, None, artifacts, size, job.attempts)
        else:
            # People know their file by the name that they gave it.
            reason = _reason(status, said.replace(upload.name, job.name))
            await self.store.finish(job.id, FAILED, reason, size=upload.stat().st_size, attempt=job.attempts)
            await asyncio.to_thread(lost.mark_over, folder, FAILED, reason)
        _log.info("job over", id=job.id, status=status)

    async def _renew_lease(self, job: Job, worker: child.Child) -> None:
        """Keep a job for as long as its child works; a job that is somebody else's by now is worked on no longer."""
        while True:
            await asyncio.sleep(_LEASE_S / 4)
            try:
                held = await self.store.heartbeat(job, _LEASE_S)
            except Exception:  # a queue that cannot be written for a while ends no job
                _log.exception("a job's lease cannot be extended", id=job.id)
                continue
            if not held:
                _log.warning("a job is no longer this service's: its child is ended", id=job.id)
                worker.kill()
                return

    async def _follow(self, live: Live, worker: child.Child) -> None:
        """Read a child's progress until it ends."""
        while line := await worker.line():
            with suppress(ValueError, KeyError):
                progress = json.loads(line)
                live.fraction, live.events = progress["done"], progress["events"]
                live.rows = progress["rows"]
                live.tell()


def _reason(status: int, said: str) -> str:
    if status == -signal.SIGXCPU:
        return "took more processor time than a job may"
    if status == -signal.SIGKILL:
        return "killed: more time or memory than a job may take"
    if "File too large" in said:
        return "would have written a larger file than a job may"
    if "MemoryError" in said or "Unable to allocate" in said:
        return "needed more memory than a job may take"
    return said or f"ended with status {status}"


__all__ = ["OVER", "Jobs", "Live"]
