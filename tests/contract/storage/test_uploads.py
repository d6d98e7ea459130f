"""The port of uploads: they go on where they ended, whoever adds to them, and are what was sent."""

import pytest

from service.storage.records import StaleOffset
from tests.contract.storage.conftest import run

ID, OTHER = "0123456789abcdef" * 2, "f" * 32


async def opened(storage):
    store = storage.opened().uploads
    await store.open()
    return store


async def add(store, id_, *parts):
    """Add parts behind what is there."""
    writer = await store.writer(id_)
    at = (await store.find(id_)).offset
    for part in parts:
        await writer.write(part, at)
        at += len(part)
    await writer.close()


def test_an_upload_is_what_was_sent_and_goes_on_after_a_start(storage):
    async def work():
        store = await opened(storage)
        await store.create(ID, 10, {"filename": "ä.csv"})
        await add(store, ID, b"abc", b"", b"de")
        store = await opened(storage)
        found = await store.find(ID)
        assert (found.id, found.length, found.metadata, found.offset) == (ID, 10, {"filename": "ä.csv"}, 5)
        assert not found.complete
        await add(store, ID, b"fghij")
        found = await store.find(ID)
        assert found.complete
        assert (await store.file(ID)).read_bytes() == b"abcdefghij"
        assert await store.all() == [found]

    run(work())


def test_bytes_come_where_an_upload_ends_and_nowhere_else(storage):
    async def work():
        store = await opened(storage)
        await store.create(ID, 10, {})
        first, second = await store.writer(ID), await store.writer(ID)
        await first.write(b"abc", 0)
        for offset in (0, 2, 4, 10**9):
            with pytest.raises(StaleOffset) as told:
                await second.write(b"xyz", offset)
            assert told.value.offset == 3
        await second.write(b"de", 3)
        with pytest.raises(StaleOffset):
            await first.write(b"xyz", 3)
        await first.close()
        await second.close()
        assert (await store.file(ID)).read_bytes() == b"abcde"

    run(work())


def test_a_writer_that_never_closes_leaves_a_beginning(storage):
    async def work():
        store = await opened(storage)
        await store.create(ID, 10, {})
        writer = await store.writer(ID)
        await writer.write(b"abc", 0)
        store = await opened(storage)
        found = await store.find(ID)
        assert b"abc".startswith((await store.file(ID)).read_bytes())
        assert found.offset == len((await store.file(ID)).read_bytes())
        await writer.close()

    run(work())


def test_what_is_removed_is_gone_and_a_link_to_it_is_not(storage, tmp_path):
    async def work():
        store = await opened(storage)
        for id_ in (ID, OTHER):
            await store.create(id_, 3, {})
            await add(store, id_, b"abc")
        link = tmp_path / "link"
        link.hardlink_to(await store.file(ID))
        await store.remove(ID)
        await store.remove(ID)
        assert link.read_bytes() == b"abc"
        for one in (store, await opened(storage)):
            assert await one.find(ID) is None
            assert [upload.id for upload in await one.all()] == [OTHER]

    run(work())


def test_an_upload_whose_bytes_are_lost_is_none(storage):
    async def work():
        store = await opened(storage)
        await store.create(ID, 3, {})
        (await store.file(ID)).unlink()
        assert await store.all() == []
        assert await store.find(ID) is None
        assert await (await opened(storage)).all() == []

    run(work())


def test_every_byte_that_comes_makes_an_upload_younger(storage):
    async def work():
        store = await opened(storage)
        await store.create(ID, 3, {})
        before = (await store.find(ID)).changed_s
        await add(store, ID, b"a")
        assert (await store.find(ID)).changed_s >= before > 1.7e9
        assert store.free_bytes() > 0

    run(work())
