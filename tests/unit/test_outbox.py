"""The outbox's figures are those of its file, whatever becomes of a commit."""

import asyncio
import sqlite3

import pytest
from sqlalchemy.exc import SQLAlchemyError

from service.storage.files.outbox import Outbox
from service.storage.records import Message

AT = {("stream", "output"): 3}
KEEP = 1_000_000


def message(i, size=100):
    return Message(f"m{i}", "topic", bytes(size), 1)


@pytest.fixture
def box(tmp_path):
    made = Outbox(tmp_path / "outbox.sqlite")
    asyncio.run(made.open({"a", "b"}))
    yield made
    made.close()


def held(box, receiver="a"):
    return vars(box.waiting(receiver))


def on_disk(tmp_path, receiver="a"):
    with sqlite3.connect(tmp_path / "outbox.sqlite") as file:
        count, size = file.execute(
            "select count(*), coalesce(sum(length(body)), 0) from messages where receiver = ?", (receiver,)
        ).fetchone()
    return {"count": count, "bytes": size}


def test_what_a_failed_commit_would_have_brought_is_not_counted(box, tmp_path):
    async def work():
        await box.add("a", [message(1)], AT, KEEP)
        with sqlite3.connect(tmp_path / "outbox.sqlite") as file:
            file.execute(
                "create trigger full before insert on cursors begin select raise(abort, 'disk is full'); end"
            )
        with pytest.raises(SQLAlchemyError, match="disk is full"):
            await box.add("a", [message(2), message(3)], {("stream", "output"): 9}, KEEP)
        assert held(box) == on_disk(tmp_path) == {"count": 1, "bytes": 100}
        assert await box.cursors("a") == AT
        with sqlite3.connect(tmp_path / "outbox.sqlite") as file:
            file.execute("drop trigger full")
        assert await box.add("a", [message(4)], {("stream", "output"): 9}, KEEP) == 0
        assert [one.message.id for one in await box.oldest("a", 9)] == ["m1", "m4"]
        assert await box.cursors("a") == {("stream", "output"): 9}

    asyncio.run(work())
    assert held(box) == on_disk(tmp_path)


def test_what_is_delivered_while_it_is_dropped_takes_no_other_along(box, tmp_path):
    async def work():
        await box.add("a", [message(1), message(2)], AT, KEEP)
        on_their_way = await box.oldest("a", 9)
        assert await box.drop_old("a", 0) == 2
        await box.add("a", [message(3), message(4)], AT, KEEP)
        assert await box.remove([one.number for one in on_their_way]) == 0
        assert [one.message.id for one in await box.oldest("a", 9)] == ["m3", "m4"]

    asyncio.run(work())
    assert held(box) == on_disk(tmp_path) == {"count": 2, "bytes": 200}


def test_too_much_and_too_old_go_and_are_said(box, tmp_path):
    async def work():
        await box.add("b", [message(0)], AT, KEEP)
        gone = await box.add("a", [message(i) for i in range(50)], AT, 2000)
        assert gone + box.waiting("a").count == 50
        assert held(box)["bytes"] <= 2000
        left = [one.message.id for one in await box.oldest("a", 99)]
        assert left == [f"m{i}" for i in range(gone, 50)]
        assert await box.drop_old("a", 1000) == 0
        assert await box.drop_old("a", 0) == len(left)
        assert held(box) == {"count": 0, "bytes": 0}
        assert held(box, "b") == {"count": 1, "bytes": 100}

    asyncio.run(work())
    assert held(box) == on_disk(tmp_path)
    assert held(box, "b") == on_disk(tmp_path, "b")
