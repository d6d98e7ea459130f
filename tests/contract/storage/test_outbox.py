"""OutboxStore."""

from service.storage.records import Message
from tests.contract.storage.conftest import run

AT = ("stream", "output")
KEEP = 2**20


def message(n, size=10):
    return Message(f"m{n}", "topic", bytes(size), n)


async def opened(storage, *receivers):
    box = storage.opened().outbox
    await box.open(set(receivers))
    return box


def ids(found):
    return [one.message.id for one in found]


def test_messages_wait_in_order_for_each_receiver_and_the_next_owner(storage):
    async def work():
        box = await opened(storage, "a", "b")
        await box.add("a", [message(1), message(2)], {AT: 2}, KEEP)
        await box.add("b", [message(1)], {AT: 1}, KEEP)
        await box.add("a", [message(3)], {AT: 3}, KEEP)
        box.close()
        box = await opened(storage, "a", "b")
        assert ids(await box.oldest("a", 10)) == ["m1", "m2", "m3"]
        assert ids(await box.oldest("a", 2)) == ["m1", "m2"]
        assert [one.message for one in await box.oldest("b", 10)] == [message(1)]
        assert (await box.cursors("a"), await box.cursors("b")) == ({AT: 3}, {AT: 1})
        assert (box.waiting("a").count, box.waiting("a").bytes) == (3, 30)
        box.close()

    run(work())


def test_what_was_delivered_is_gone_for_good(storage):
    async def work():
        box = await opened(storage, "a")
        await box.add("a", [message(n) for n in range(4)], {}, KEEP)
        numbers = [one.number for one in await box.oldest("a", 2)]
        assert await box.remove(numbers) == 2
        assert await box.remove(numbers) == 0
        newest = [one.number for one in await box.oldest("a", 9)][-1]
        await box.remove([newest])
        await box.add("a", [message(9)], {}, KEEP)
        left = {one.number for one in await box.oldest("a", 10)}
        assert not left & {*numbers, newest}, "a number is never another's"
        box.close()
        box = await opened(storage, "a")
        assert ids(await box.oldest("a", 10)) == ["m2", "m9"]
        box.close()

    run(work())


def test_the_oldest_go_where_too_much_waits_and_are_counted(storage):
    async def work():
        box = await opened(storage, "a")
        dropped = sum([await box.add("a", [message(n, 100)], {AT: n}, 1000) for n in range(30)])
        left = ids(await box.oldest("a", 100))
        assert left == [f"m{n}" for n in range(dropped, 30)]
        assert box.waiting("a").bytes <= 1000
        assert await box.cursors("a") == {AT: 29}
        assert await box.drop_old("a", 1e6) == 0
        assert await box.drop_old("a", -1) == len(left)
        box.close()

    run(work())


def test_receivers_and_streams_that_are_no_more_are_forgotten(storage):
    async def work():
        box = await opened(storage, "a", "b")
        for name in "ab":
            await box.add(name, [message(1)], {AT: 1, ("other", "o"): 5}, KEEP)
        await box.forget_streams("a", ["other"])
        assert await box.cursors("a") == {AT: 1}
        box.close()
        box = await opened(storage, "a")
        assert await box.oldest("b", 9) == []
        assert await box.cursors("b") == {}
        assert ids(await box.oldest("a", 9)) == ["m1"]
        box.close()

    run(work())
