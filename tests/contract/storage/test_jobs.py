"""JobQueue."""

import asyncio

from service.storage.records import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job
from tests.contract.storage.conftest import run


def job(n, **fields):
    return Job(f"{n:016x}", f"{n}.csv", {"pipeline": {"stages": []}}, created_s=float(n), **fields)


async def opened(storage, most_attempts=3):
    queue = storage.opened().jobs
    await queue.open(most_attempts)
    return queue


def test_jobs_are_claimed_by_priority_and_age_once_each(storage):
    async def work():
        queue = await opened(storage)
        for one in (job(3), job(1), job(2, priority=5), job(4, priority=-1)):
            assert (await queue.add(one)).id == one.id
        claimed = await asyncio.gather(*(queue.claim(60) for _ in range(6)))
        assert [one and int(one.id, 16) for one in claimed] == [2, 1, 3, 4, None, None]
        assert all(one.state == RUNNING and one.attempts == 1 for one in claimed[:4])
        assert (await queue.counts())[RUNNING] == 4
        queue.close()

    run(work())


def test_a_job_is_there_with_all_that_it_had_for_the_next_owner(storage):
    async def work():
        queue = await opened(storage)
        before = job(1, idempotency_key="k", asked="sum", priority=2)
        await queue.add(before)
        again = await opened(storage)
        assert vars(await again.get(before.id)) == vars(before)
        assert (await again.with_key("k")).id == before.id
        assert (await again.add(job(2, idempotency_key="k"))).id == before.id
        assert await again.get(job(2).id) is None
        assert await again.with_key("other") is None
        queue.close()
        again.close()

    run(work())


def test_who_claimed_a_job_holds_it_until_it_is_over_or_claimed_anew(storage):
    async def work():
        queue = await opened(storage)
        await queue.add(job(1))
        first = await queue.claim(60)
        assert await queue.holds(first)
        assert await queue.wait_again(first.id, frozenset({RUNNING}), count_attempt=True)
        assert not await queue.holds(first)
        second = await queue.claim(60)
        assert (second.attempts, len(second.history)) == (2, 1)
        assert await queue.holds(second)
        assert not await queue.holds(first), "it is another's by now"
        await queue.finish(first.id, DONE, attempt=first.attempts)
        assert (await queue.get(first.id)).state == RUNNING, "an older attempt has nothing to say"
        await queue.finish(second.id, FAILED, "why", [{"name": "a"}], 7, second.attempts)
        await queue.finish(second.id, CANCELLED)
        over = await queue.get(second.id)
        assert (over.state, over.error, over.artifacts, over.bytes) == (FAILED, "why", [{"name": "a"}], 7)
        assert not await queue.holds(second)
        assert [one[0] for one in await queue.finished()] == [second.id]
        assert await queue.remove(second.id)
        assert not await queue.remove(second.id)
        queue.close()

    run(work())


def test_a_job_whose_runner_died_waits_again_but_not_for_ever(storage):
    async def work():
        queue = await opened(storage)
        await queue.add(job(1))
        for attempt in (1, 2):
            assert (await queue.claim(60)).attempts == attempt
            queue.close()
            queue = await opened(storage, most_attempts=2)
            found = await queue.get(job(1).id)
            assert len(found.history) == attempt
        assert found.state == FAILED
        assert "each of 2 attempts" in found.error
        queue.close()

    run(work())


def test_a_lease_ends_unless_it_is_extended(storage):
    async def work():
        queue = await opened(storage, most_attempts=2)
        await queue.add(job(1))
        await queue.add(job(2))
        kept, silent = await queue.claim(0.2), await queue.claim(0.2)
        for _ in range(4):
            await asyncio.sleep(0.1)
            assert await queue.heartbeat(kept, 0.2)
        assert await queue.holds(silent), "nobody else has asked for it"
        again = await queue.claim(0.05)
        assert (again.id, again.attempts) == (silent.id, 2)
        assert "fell silent" in again.history[0]["error"]
        assert not await queue.heartbeat(silent, 60), "it is another's by now"
        assert not await queue.holds(silent)
        await asyncio.sleep(0.1)
        assert await queue.claim(60) is None
        over = await queue.get(again.id)
        assert over.state == FAILED
        assert "each of 2 attempts" in over.error
        queue.close()

    run(work())


def test_what_is_over_is_nobodys(storage):
    async def work():
        queue = await opened(storage)
        await queue.add(job(1))
        claimed = await queue.claim(0.05)
        await queue.finish(claimed.id, DONE, attempt=1)
        assert not await queue.heartbeat(claimed, 60)
        await asyncio.sleep(0.1)
        assert await queue.claim(60) is None
        assert (await queue.get(claimed.id)).state == DONE
        queue.close()

    run(work())


def test_whoever_waits_for_a_job_is_woken(storage):
    async def work():
        queue = await opened(storage)
        for bring in (
            lambda: queue.add(job(1)),
            lambda: queue.wait_again(job(1).id, frozenset({FAILED}), True),
        ):
            waiting = asyncio.create_task(queue.changed(60))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await bring()
            async with asyncio.timeout(5):
                await waiting
            claimed = await queue.claim(60)
            await queue.finish(claimed.id, FAILED, "why", attempt=claimed.attempts)
        await queue.changed(0.05)  # nothing comes: it returns all the same
        await queue.add(job(2))
        async with asyncio.timeout(5):
            await queue.changed(60)  # what came before it was asked counts
        queue.close()

    run(work())


def test_jobs_are_told_page_by_page(storage):
    async def work():
        queue = await opened(storage)
        for n in range(7):
            await queue.add(job(n))
        await queue.finish(job(3).id, CANCELLED)
        first = await queue.page(None, 3)
        rest = await queue.page(first[-1].id, 100)
        assert [int(one.id, 16) for one in (*first, *rest)] == list(range(7))
        assert [int(one.id, 16) for one in await queue.page(None, 2, newest=True)] == [6, 5]
        assert [one.state for one in await queue.page(None, 9, CANCELLED)] == [CANCELLED]
        assert not await queue.remove(job(1).id), "it is not over"
        assert (await queue.counts())[QUEUED] == 6
        queue.close()

    run(work())
