"""Jobs that wait, run, or are over."""

from __future__ import annotations

from typing import Any, Protocol

from service.storage.records import Job


class JobQueue(Protocol):
    """Jobs that wait, run, or are over. A job is run by whoever claimed it last, and by nobody else."""

    async def open(self, most_attempts: int) -> None:
        """Begin. Jobs whose runner is gone wait once more, or have failed where that was their last attempt.

        Raises:
            NewerData: a newer version wrote the queue.
        """
        ...

    async def add(self, job: Job) -> Job:
        """Take a job in, durably; the job that has its idempotency key already, where there is one."""
        ...

    async def claim(self, lease_s: float) -> Job | None:
        """Of the jobs of the highest priority that wait, the oldest: it runs now, at its next attempt.

        It is the caller's for ``lease_s``, and for longer with :meth:`heartbeat`. A job whose lease has run out waits
        once more, or has failed where that was its last attempt.
        """
        ...

    async def heartbeat(self, job: Job, lease_s: float) -> bool:
        """Hold a job that was claimed for ``lease_s`` from now; False where it is no longer the caller's."""
        ...

    async def changed(self, timeout_s: float) -> None:
        """Return once a job has come, or waits once more, since this was last asked; at the latest after so long."""
        ...

    async def holds(self, job: Job) -> bool:
        """Whether a job that was claimed still runs at that attempt: it was neither cancelled nor claimed anew."""
        ...

    async def finish(
        self, id_: str, state: str, error: str | None = None, artifacts: list[dict[str, Any]] | None = None,
        size: int = 0, attempt: int | None = None,
    ) -> None:  # fmt: skip
        """A job is over, unless it was before, or runs at another attempt than the one that is told of."""
        ...

    async def wait_again(self, id_: str, states: frozenset[str], count_attempt: bool) -> Job | None:
        """A job that is in one of ``states`` waits once more; None where it is in none of them.

        Args:
            id_: of the job.
            states: from which it may go back.
            count_attempt: whether the attempt that ended counts, and is remembered with its error.
        """
        ...

    async def get(self, id_: str) -> Job | None:
        """The job of this name."""
        ...

    async def with_key(self, key: str) -> Job | None:
        """The job that was made with this idempotency key."""
        ...

    async def page(
        self, after: str | None, most: int, state: str | None = None, newest: bool = False
    ) -> list[Job]:
        """Jobs in order of their names, behind ``after``; or those that came last."""
        ...

    async def finished(self) -> list[tuple[str, float, int]]:
        """(name, when it ended, bytes) of the jobs that are over."""
        ...

    async def remove(self, id_: str) -> bool:
        """Forget a job that is over; whether there was one."""
        ...

    async def counts(self) -> dict[str, int]:
        """How many are in each state."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
